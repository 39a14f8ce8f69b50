package workflow_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task/tasktest"
)

const (
	oldDomain = "0000aaaa-0000-4000-8000-000000000001"
	oldDisk   = "vm_images/old/old.qcow2"
)

// oldImage puts a disk of a former installation on the datastore.
func oldImage(tb testing.TB, c *cloud) {
	tb.Helper()
	if err := c.world.PutImage("/mnt/datastore", oldDisk, 3<<29); err != nil {
		tb.Fatal(err)
	}
}

// foreignDomain defines a domain that is not ours on host2, with that disk.
func foreignDomain(tb testing.TB, c *cloud) {
	tb.Helper()
	oldImage(tb, c)
	err := c.world.VirshDefine("host2", baadal.Domain{
		UUID: oldDomain, Name: "payroll", VCPUs: 2, RAMMiB: 512, Disks: []baadal.DomainDisk{{Path: "/mnt/datastore/" + oldDisk, Format: "qcow2", Target: "vda"}},
	})
	if err != nil {
		tb.Fatal(err)
	}
}

func saveTemplate(tb testing.TB, c *cloud) int64 {
	ch, err := c.svc.SaveVMAsTemplate(context.Background(), c.actor, "ml", baadal.VMSaveTemplate{Name: "saved"}, none)
	return submitted(tb, ch, err)
}

func exportVM(tb testing.TB, c *cloud) int64 {
	ch, err := c.svc.ExportVM(context.Background(), c.actor, "ml", none)
	return submitted(tb, ch, err)
}

func imageCases() []tasktest.Case {
	ctx := context.Background()
	ofML := func(name string, submit func(testing.TB, *cloud) int64, prepare ...func(testing.TB, *cloud)) tasktest.Case {
		return diskCase(name, submit, prepare...)
	}
	return []tasktest.Case{
		ofML("save running vm as template", saveTemplate),
		ofML("save stopped vm as template", saveTemplate, off),
		ofML("save vm with a snapshot as template", saveTemplate, snapshotted),
		ofML("export running vm", exportVM),
		ofML("export stopped vm", exportVM, off),
		either(ofML("remove export", func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.RemoveExport(ctx, c.actor, 1, none)
			return submitted(tb, ch, err)
		}, func(tb testing.TB, c *cloud) {
			ch, err := c.svc.ExportVM(ctx, c.actor, "ml", none)
			c.finish(tb, ch.Task, err)
		})),
		workflowCase("import vm", nil, func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.ImportVM(ctx, c.actor, baadal.VMImport{VMNew: baadal.VMNew{Name: "ml"}, UploadID: c.image(tb)}, none)
			return submitted(tb, ch, err)
		}),
		workflowCase("launch vm image", oldImage, func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.LaunchVM(ctx, c.actor, baadal.VMLaunch{VMNew: baadal.VMNew{Name: "ml", DiskGiB: 4}, Datastore: "main", Image: "old"}, none)
			return submitted(tb, ch, err)
		}),
		workflowCase("adopt vm", foreignDomain, func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.AdoptVM(ctx, c.actor, baadal.VMAdopt{Host: "host2", Domain: "payroll"}, none)
			return submitted(tb, ch, err)
		}),
	}
}

func TestImages(t *testing.T)      { tasktest.Run(t, imageCases()) }
func TestImagesChild(t *testing.T) { tasktest.Child(t, imageCases()) }

// transferLines is what the state says of exports. Uploads go by themselves, in
// a task of their own.
func transferLines(tx *store.Tx) (lines []string, err error) {
	all, err := tx.AllTransfers()
	for _, f := range all {
		if f.Kind == baadal.TransferExport {
			lines = append(lines, fmt.Sprintf("export %d %s of vm %d: %d bytes, %s", f.ID, f.State, f.VMID, f.Size, f.SHA256))
		}
	}
	return lines, err
}

// ofUpload tells the line of an upload that image made.
func ofUpload(line string) bool {
	return strings.Contains(line, " "+baadal.DirMigration+"/") && strings.Contains(line, "bytes=4096")
}
