package libvirt

import (
	"context"
	"errors"
	"slices"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"baadal"
)

// below is the file of a chain that a block job works down to. libvirt takes
// "down to the last one" for granted where none is named, and would write into
// a template or copy it: the jobs of this file are the only ones there are, and
// none of them can be begun without one.
type below string

var errNoBelow = errors.New("a block job needs the file that it works down to")

// commitActive writes what a disk's top file holds into a file below it, and
// keeps them alike until the job is ended.
func commitActive(rpc *golibvirt.Libvirt, dom golibvirt.Domain, target string, into below) error {
	if into == "" {
		return errNoBelow
	}
	return rpc.DomainBlockCommit(dom, target, golibvirt.OptString{string(into)}, nil, 0, golibvirt.DomainBlockCommitActive)
}

// pullOnto copies into a disk's top file what the files between it and another
// one hold; it stands on that one alone then.
func pullOnto(rpc *golibvirt.Libvirt, dom golibvirt.Domain, target string, onto below, bytesPerSecond uint64) error {
	if onto == "" {
		return errNoBelow
	}
	return rpc.DomainBlockRebase(dom, target, golibvirt.OptString{string(onto)}, bytesPerSecond, golibvirt.DomainBlockRebaseBandwidthBytes)
}

// pullAll copies everything that a disk's top file stands on into it.
func pullAll(rpc *golibvirt.Libvirt, dom golibvirt.Domain, target string, bytesPerSecond uint64) error {
	return rpc.DomainBlockPull(dom, target, bytesPerSecond, golibvirt.DomainBlockPullBandwidthBytes)
}

// PullDisk copies into the disk of an active domain what it has of the files
// between it and onto, or of all if that is empty, at no more than so many bytes
// a second (0: no limit). The guest sees no difference, at no moment. It stands
// on onto alone when it returns; done already is success. A pull that an earlier
// call began is followed; when ctx ends it is broken off, and what was copied
// stays copied.
func (h *Hypervisor) PullDisk(ctx context.Context, host baadal.Host, uuid, target, onto string, bytesPerSecond int64, progress func(share float64)) error {
	const op = "flatten disk"
	for begun := false; ; {
		l, dom, live, err := h.live(ctx, host, uuid, op)
		if err != nil {
			return err
		}
		job, err := blockJobOf(ctx, l, dom, op, target)
		if err != nil {
			return err
		}
		files := standsOn(live, target)
		switch {
		case job.found && job.kind != golibvirt.DomainBlockJobTypePull:
			return baadal.Errorf(baadal.Conflict, "another job is at work on disk %s of %s", target, live.Name).WithCode("block_job")
		case job.found:
			begun = true
			progress(job.share)
		case onto == "" && len(files) == 0, onto != "" && slices.Equal(files, []string{onto}):
			return nil
		case begun:
			return baadal.Errorf(baadal.Unavailable, "%s on %s was broken off", op, host.Name).WithCode("block_job").
				WithDetail("the disk is as good as before; its datastore may be full")
		case onto != "" && !slices.Contains(files, onto):
			return baadal.Errorf(baadal.Conflict, "disk %s of %s does not stand on %s", target, live.Name, onto).WithCode("disk_missing")
		default:
			if err := h.beginPull(ctx, l, dom, op, target, onto, bytesPerSecond); err != nil {
				return err
			}
			begun = true
		}
		if err := pause(ctx); err != nil {
			after, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortWait)
			defer cancel()
			_ = ask(after, l, op, func(rpc *golibvirt.Libvirt) error { return rpc.DomainBlockJobAbort(dom, target, 0) })
			return interrupted(ctx, host.Name, op)
		}
	}
}

func (h *Hypervisor) beginPull(ctx context.Context, l *link, dom golibvirt.Domain, op, target, onto string, bytesPerSecond int64) error {
	limit := uint64(max(bytesPerSecond, 0)) //nolint:gosec // not negative
	return ask(ctx, l, op, func(rpc *golibvirt.Libvirt) error {
		if onto == "" {
			return pullAll(rpc, dom, target, limit)
		}
		return pullOnto(rpc, dom, target, below(onto), limit)
	})
}

// blockJob is what libvirt says of the job on a disk.
type blockJob struct {
	found bool
	kind  golibvirt.DomainBlockJobType
	share float64
}

func blockJobOf(ctx context.Context, l *link, dom golibvirt.Domain, op, target string) (blockJob, error) {
	return call(ctx, l, op, func(rpc *golibvirt.Libvirt) (j blockJob, err error) {
		found, kind, _, now, end, err := rpc.DomainGetBlockJobInfo(dom, target, 0)
		j.found, j.kind = found != 0, golibvirt.DomainBlockJobType(kind)
		if end > 0 {
			j.share = float64(now) / float64(end)
		}
		return j, err
	})
}

// standsOn lists the files below a domain's disk, from the top down.
func standsOn(d *libvirtxml.Domain, target string) (files []string) {
	disk := diskOf(d, target)
	if disk == nil {
		return nil
	}
	for b := disk.BackingStore; b != nil && b.Source != nil && b.Source.File != nil; b = b.BackingStore {
		files = append(files, b.Source.File.File)
	}
	return files
}
