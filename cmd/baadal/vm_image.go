package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

const vmSaveTemplateLong = `Save what is on a VM's disk as a template, running or off. It is the VM's owner's:
he, and who may manage his things, see it and make VMs of it. With --public, which is
an administrator's to say, it is everybody's. A VM made of it gets a host name, host
keys and an address of its own; what else people put into the VM is in it too.

    baadal vm save-as-template web1 --name web-2026`

func (c *cli) vmSaveTemplateCommand() *cobra.Command {
	var in baadal.VMSaveTemplate
	a := act[baadal.Template]{say: taskMessage[baadal.Template]("%s is saved as a template")}
	a.do = func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.Template], error) {
		return api.SaveVMAsTemplate(ctx, name, in, opt)
	}
	a.reload = func(ctx context.Context, api *client.Client, ch baadal.Change[baadal.Template]) (baadal.Template, error) {
		return api.Template(ctx, fmt.Sprint(ch.Resource.ID))
	}
	cmd := &cobra.Command{
		Use: "save-as-template VM --name NAME", Short: "Save a VM's disk as a template", Long: vmSaveTemplateLong, Args: takes(1, 1),
		DisableFlagsInUseLine: true, ValidArgsFunction: c.vmNames(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			if in.Name == "" {
				return usagef("a template needs a name: give --name")
			}
			return a.run(cmd, c, args[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Name, "name", "", "what to call the template")
	f.StringVar(&in.OS, "os", "", "what it holds, in `words` (as the VM's template says)")
	f.BoolVar(&in.Public, "public", false, "everybody may use it")
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

// newVMFlags are the flags of everything that makes a VM of an image.
type newVMFlags struct {
	in        baadal.VMNew
	ram, disk sizeFlag
	keys      []string
}

func (n *newVMFlags) add(c *cli, cmd *cobra.Command) {
	n.ram.unit, n.disk.unit = mib, gib
	f := cmd.Flags()
	f.StringVar(&n.in.Name, "name", "", "what to call the VM")
	f.StringVar(&n.in.Network, "network", "", "`name` of the network (the only one if there is one)")
	f.StringVar(&n.in.Host, "host", "", "`name` of the host (the best one)")
	f.IntVar(&n.in.VCPUs, "vcpus", 0, "`number` of virtual CPUs (1)")
	f.Var(&n.ram, "ram", "memory, as 512M or 2G (512M)")
	f.Var(&n.disk, "disk", "disk, as 10G (the image's size)")
	f.StringArrayVar(&n.keys, "ssh-key", nil, "`file` with SSH public keys; may be repeated")
	f.StringVar(&n.in.Owner, "owner", "", "`user` who owns it (you)")
	f.StringVar(&n.in.Purpose, "purpose", "", "what it is for, in `words`")
	completeFlags(cmd, map[string]completion{"network": c.networkNames(false), "host": c.hostNames(), "owner": c.userNames(false)})
}

// wish is what the flags say.
func (n *newVMFlags) wish(c *cli, cmd *cobra.Command) (baadal.VMNew, error) {
	if n.in.Name == "" {
		return n.in, usagef("a VM needs a name: give --name")
	}
	n.in.RAMMiB, n.in.DiskGiB = n.ram.value, n.disk.value
	files := n.keys
	if !cmd.Flags().Changed("ssh-key") && n.in.Owner == "" {
		files = c.defaultKeys()
	}
	var err error
	n.in.SSHKeys, err = readKeys(files)
	return n.in, err
}

const vmImportLong = `Make a VM of a disk image: qcow2, raw or vmdk, in one piece. The file is sent to a
datastore, checked and copied; the VM gets a host name, an address, keys and a console
password of its own, if the image has cloud-init.

    baadal vm import web1.qcow2 --name web1
    baadal vm import appliance.vmdk --name appliance --ram 2G`

func (c *cli) vmImportCommand() *cobra.Command {
	var n newVMFlags
	datastore := ""
	a := act[baadal.VM]{reload: reloadVM, say: c.sayVMCreated}
	cmd := &cobra.Command{
		Use: "import FILE --name NAME", Short: "Make a VM of a disk image", Long: vmImportLong, Args: takes(1, 1), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := n.wish(c, cmd)
			if err != nil {
				return err
			}
			a.do = func(ctx context.Context, api *client.Client, file string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
				id, err := c.upload(ctx, api, datastore, file)
				if err != nil {
					return baadal.Change[baadal.VM]{}, err
				}
				return api.ImportVM(ctx, baadal.VMImport{VMNew: in, UploadID: id}, opt)
			}
			return a.run(cmd, c, args[0])
		},
	}
	n.add(c, cmd)
	cmd.Flags().StringVar(&datastore, "datastore", "", "`name` of the datastore (the one with most room)")
	completeFlags(cmd, map[string]completion{"datastore": c.datastoreNames()})
	return cmd
}

const vmLaunchLong = `Make a VM of a disk image that lies on a datastore already, as one of a former
installation: its former identity, or its path below the datastore's mount point. The
image is copied and stays where it is.

    baadal vm launch CSE_asha_web1 --datastore main --name web1
    baadal vm launch old/disks/web1.img --datastore main --name web1 --dry-run`

func (c *cli) vmLaunchCommand() *cobra.Command {
	var n newVMFlags
	datastore := ""
	a := act[baadal.VM]{reload: reloadVM, say: c.sayVMCreated}
	cmd := &cobra.Command{
		Use: "launch IMAGE --datastore DATASTORE --name NAME", Short: "Make a VM of an image on a datastore", Long: vmLaunchLong, Args: takes(1, 1),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := n.wish(c, cmd)
			if err != nil {
				return err
			}
			if datastore == "" {
				return usagef("say which datastore the image lies on: give --datastore")
			}
			a.do = func(ctx context.Context, api *client.Client, image string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
				return api.LaunchVM(ctx, baadal.VMLaunch{VMNew: in, Datastore: datastore, Image: image}, opt)
			}
			return a.run(cmd, c, args[0])
		},
	}
	n.add(c, cmd)
	cmd.Flags().StringVar(&datastore, "datastore", "", "`name` of the datastore that it lies on")
	dryRunFlag(cmd, &a.dryRun)
	completeFlags(cmd, map[string]completion{"datastore": c.datastoreNames()})
	return cmd
}

const vmAdoptLong = `Make a domain that exists on a host, and is nobody's, a VM of the cloud. It must be
off. Its disk is copied to a datastore, its definition replaced by one of ours under the
same UUID; it gets an address, a MAC and a VNC port. --dry-run tells what will be another
than before, or what is in the way. The old disk stays where it is.

    baadal vm adopt host2 payroll --owner asha --network research --dry-run`

func (c *cli) vmAdoptCommand() *cobra.Command {
	var in baadal.VMAdopt
	a := act[baadal.VM]{reload: reloadVM, say: taskMessage[baadal.VM]("%s is adopted")}
	a.do = func(ctx context.Context, api *client.Client, domain string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
		in.Domain = domain
		return api.AdoptVM(ctx, in, opt)
	}
	cmd := &cobra.Command{
		Use: "adopt HOST DOMAIN", Short: "Make a domain on a host a VM of the cloud", Long: vmAdoptLong, Args: takes(2, 2), ValidArgsFunction: c.hostNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Host = args[0]
			return a.run(cmd, c, args[1])
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Name, "name", "", "what to call the VM (as the domain)")
	f.StringVar(&in.Network, "network", "", "`name` of the network (the only one if there is one)")
	f.StringVar(&in.Datastore, "datastore", "", "`name` of the datastore for its disk (the best one)")
	f.StringVar(&in.Owner, "owner", "", "`user` who owns it (you)")
	f.StringVar(&in.Purpose, "purpose", "", "what it is for, in `words`")
	dryRunFlag(cmd, &a.dryRun)
	completeFlags(cmd, map[string]completion{"network": c.networkNames(false), "datastore": c.datastoreNames(), "owner": c.userNames(false)})
	return cmd
}

const vmExportLong = `Fetch a VM's disk as one flat qcow2 file, of a VM that is off or running. A copy is
made in the cloud first, fetched, compared by its SHA-256 and removed. A download that
breaks off goes on where it was.

    baadal vm export web1 web1.qcow2`

func (c *cli) vmExportCommand() *cobra.Command {
	force, dryRun := false, false
	cmd := &cobra.Command{
		Use: "export VM FILE", Short: "Fetch a VM's disk as a file", Long: vmExportLong, Args: takes(2, 2), ValidArgsFunction: c.vmNames(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			if dryRun {
				a := act[baadal.Transfer]{dryRun: true, say: taskMessage[baadal.Transfer]("%s can be exported")}
				a.do = func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.Transfer], error) {
					return api.ExportVM(ctx, name, opt)
				}
				return a.run(cmd, c, args[0])
			}
			return c.exportVM(cmd.Context(), args[0], args[1], force)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if it is there")
	dryRunFlag(cmd, &dryRun)
	return cmd
}

// exportVM makes the copy, fetches it beside its place, and names it when it is
// whole. The copy in the cloud is removed whatever happens.
func (c *cli) exportVM(ctx context.Context, vm, file string, force bool) (err error) {
	if _, err := os.Lstat(file); err == nil && !force {
		return usagef("%s is there already: give --force to replace it", file)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at %s: %w", file, err)
	}
	part, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*.part")
	if err != nil {
		return fmt.Errorf("make %s: %w", file, err)
	}
	defer func() {
		err = errors.Join(err, part.Close())
		if err != nil {
			_ = os.Remove(part.Name())
		}
	}()
	api, err := c.api()
	if err != nil {
		return err
	}
	ch, err := api.ExportVM(ctx, vm, baadal.ChangeOptions{})
	if err != nil {
		return err
	}
	p := c.newTracker()
	defer p.done()
	t, err := c.wait(ctx, api, p, ch.Task.ID)
	if err != nil {
		if ctx.Err() != nil { // nobody will fetch it
			stopping, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer stop()
			_, _ = api.CancelTask(stopping, ch.Task.ID)
		}
		return err
	}
	if t.State != baadal.TaskSuccess {
		return &taskError{t}
	}
	defer func() {
		clean, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer stop()
		_, _ = api.DeleteExport(clean, ch.Resource.ID, baadal.ChangeOptions{}) // it goes by itself otherwise
	}()
	f, err := api.Export(ctx, ch.Resource.ID)
	if err != nil {
		return err
	}
	if err := fetch(ctx, api, p, f, part); err != nil {
		return err
	}
	p.done()
	if err := part.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.Rename(part.Name(), file); err != nil {
		return fmt.Errorf("name %s: %w", file, err)
	}
	c.printf("%s is exported to %s: %s, sha256 %s\n", clean(vm), clean(file), bytesText(f.Size), f.SHA256)
	return nil
}

// fetchTries is how often a download that breaks off goes on without progress.
const fetchTries = 5

// fetch gets an export, going on where it broke off, and compares it.
func fetch(ctx context.Context, api *client.Client, p *tracker, f baadal.Transfer, to io.Writer) error {
	sum := sha256.New()
	at, failed := int64(0), 0
	for at < f.Size {
		n, err := api.FetchExport(ctx, f, at, io.MultiWriter(to, sum), func(now int64) { p.bytes(f.Name, now, f.Size) })
		at += n
		if n > 0 {
			failed = 0
		}
		if err != nil {
			if failed++; failed >= fetchTries || baadal.KindOf(err) != baadal.Unavailable || ctx.Err() != nil {
				return err
			}
			select {
			case <-time.After(time.Duration(failed) * time.Second):
			case <-ctx.Done():
			}
		}
	}
	return compare(sum, f)
}

func compare(sum hash.Hash, f baadal.Transfer) error {
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.SHA256 {
		return baadal.Errorf(baadal.Unavailable, "what came is not what was sent").WithCode("checksum").
			WithDetail("the export has the SHA-256 %s, the file %s; nothing was kept", f.SHA256, got).WithNext("Export it again", "")
	}
	return nil
}
