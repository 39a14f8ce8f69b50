package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

func (c *cli) templateCommand() *cobra.Command {
	return group("template", "Disk images that VMs start from",
		c.templateImportCommand(),
		listCommand(c, "List templates", (*client.Client).Templates, c.templateListing()),
		showCommand(c, "Show templates in full", (*client.Client).Template, c.templateNames(false), c.showTemplate),
		removeCommand(c, "delete", "Delete templates that no VM stands on", "%s is deleted",
			(*client.Client).DeleteTemplate, c.templateNames(false)),
	)
}

func (c *cli) templateListing() listing[baadal.Template] {
	return listing[baadal.Template]{
		name:  func(t baadal.Template) string { return t.Name },
		empty: "No templates yet. Import one: baadal template import FILE|URL --name NAME",
		columns: []column[baadal.Template]{
			{title: "Name", cell: func(t baadal.Template) string { return t.Name }, min: 10},
			{title: "State", cell: func(t baadal.Template) string { return t.State }, state: true},
			{title: "OS", cell: osText, drop: 2, min: 10},
			{title: "Disk", right: true, cell: func(t baadal.Template) string { return bytesText(t.VirtualSize) }, drop: 1},
			{title: "File", right: true, cell: func(t baadal.Template) string { return bytesText(t.FileSize) }, drop: 5},
			{title: "VMs", right: true, cell: func(t baadal.Template) string { return fmt.Sprint(t.VMs) }, drop: 3},
			{title: "Datastore", cell: func(t baadal.Template) string { return t.Datastore }, drop: 4, min: 9},
			{title: "Owner", cell: func(t baadal.Template) string { return dash(t.Owner) }, drop: 2, min: 6},
			{title: "Imported", cell: func(t baadal.Template) string { return agoText(c.now(), t.CreatedAt) }, drop: 6},
		},
	}
}

// osText is what a template holds; of a CD image it says that it is one.
func osText(t baadal.Template) string {
	if t.Kind == baadal.TemplateISO {
		return strings.TrimSpace("CD image " + t.OS)
	}
	return dash(t.OS)
}

func (c *cli) showTemplate(t baadal.Template) {
	fmt.Fprintln(c.out, c.title(t.Name, t.State, strings.TrimPrefix(osText(t), "-")))
	disk, on := bytesText(t.VirtualSize)+", the least size of a VM's disk", "VMs on it"
	if t.Kind == baadal.TemplateISO {
		disk, on = "", "In the drives of"
	}
	c.fields([]field{
		{"Task", taskRefText(t.Task)},
		{"Disk", disk},
		{"File", fmt.Sprintf("%s, %s, %s", t.File, t.Format, bytesText(t.FileSize))},
		{"Owner", t.Owner},
		{"Datastore", t.Datastore},
		{"SHA256", t.SHA256},
		{"Came from", t.Source},
		{on, fmt.Sprint(t.VMs)},
		{"Imported", agoText(c.now(), t.CreatedAt)},
		{"Can", actionsText(t.Actions)},
	})
}

const templateImportLong = `Import a disk image (qcow2 or raw) from a file, which is sent to the server, or
from a URL, which the server fetches itself.

    baadal template import debian-12.qcow2 --name debian-12 --os "Debian 12"
    baadal template import https://images.example.org/debian-12.qcow2 --name debian-12 --sha256 …
    baadal template import debian-12-netinst.iso --kind iso --name debian-cd

With --kind iso it is a CD image (ISO 9660): VMs are not made from it, it is
inserted in them (baadal vm cdrom insert).`

func (c *cli) templateImportCommand() *cobra.Command {
	var in baadal.TemplateImport
	a := act[baadal.Template]{
		reload: func(ctx context.Context, api *client.Client, ch baadal.Change[baadal.Template]) (baadal.Template, error) {
			if ch.Resource == nil {
				return baadal.Template{}, errors.New("the answer names no template")
			}
			return api.Template(ctx, fmt.Sprint(ch.Resource.ID))
		},
		say: func(name string, ch baadal.Change[baadal.Template]) string {
			s := taskMessage[baadal.Template]("%s is imported")(name, ch)
			switch t := ch.Resource; {
			case t == nil || t.State != baadal.TemplateReady:
			case t.Kind == baadal.TemplateISO:
				s += fmt.Sprintf("\n  use it: baadal vm cdrom insert NAME --iso %s", clean(t.Name))
			default:
				s += fmt.Sprintf("\n  %s: %s disk in a file of %s\n  use it: baadal vm create NAME --template %s",
					clean(t.Name), bytesText(t.VirtualSize), bytesText(t.FileSize), clean(t.Name))
			}
			return s
		},
	}
	a.do = func(ctx context.Context, api *client.Client, source string, opt baadal.ChangeOptions) (baadal.Change[baadal.Template], error) {
		if strings.Contains(source, "://") {
			in.URL = source
		} else if !opt.DryRun {
			id, err := c.upload(ctx, api, in.Datastore, source)
			if err != nil {
				return baadal.Change[baadal.Template]{}, err
			}
			in.UploadID = id
		}
		return api.ImportTemplate(ctx, in, opt)
	}
	cmd := &cobra.Command{
		Use: "import FILE|URL --name NAME", Short: "Import a disk image", Long: templateImportLong, Args: takes(1, 1), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if in.Name == "" {
				return usagef("a template needs a name: give --name")
			}
			return a.run(cmd, c, args[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Name, "name", "", "what to call it")
	f.StringVar(&in.Kind, "kind", baadal.TemplateDisk, "disk, or iso for a CD image to insert in VMs")
	f.StringVar(&in.OS, "os", "", "what it holds, in `words`, as \"Debian 12\"")
	f.StringVar(&in.SHA256, "sha256", "", "the `checksum` that the file must have")
	f.StringVar(&in.Datastore, "datastore", "", "`name` of the datastore (the one with most room)")
	completeFlags(cmd, map[string]completion{"datastore": c.datastoreNames()})
	return cmd
}

// upload sends a file to a datastore and returns the upload's id.
func (c *cli) upload(ctx context.Context, api *client.Client, datastore, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("open image: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("open image: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", usagef("%s is not a file", path)
	}
	p := c.newTracker()
	up, err := api.Upload(ctx, datastore, f, info.Size(), func(sent int64) { p.bytes(filepath.Base(path), sent, info.Size()) })
	p.done()
	if err != nil {
		return "", fmt.Errorf("upload %s: %w", path, err)
	}
	return up.ID, nil
}
