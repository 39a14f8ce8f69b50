package disk

import (
	"bytes"
	"encoding/binary"
	"strings"

	"baadal"
)

// headSize is how much of an image is looked at before anything of it is
// written or given to qemu-img.
const headSize = 64 << 10

// maxVirtualSize is the largest disk: 16 TiB.
const maxVirtualSize = 16 << 40

// The incompatible features of a qcow2 header that matter here.
const (
	qcow2Corrupt      = 1 << 1
	qcow2ExternalData = 1 << 2
)

// qcow2DataFile is the header extension that names an external data file.
const qcow2DataFile = 0x44415441

// foreign are the beginnings of files that people take for disk images and that
// are not usable as they are.
var foreign = []struct{ magic, what, fix string }{
	{"\x1f\x8b", "gzip", "decompress it first: gunzip"},
	{"\xfd7zXZ\x00", "xz", "decompress it first: unxz"},
	{"\x28\xb5\x2f\xfd", "zstd", "decompress it first: unzstd"},
	{"BZh", "bzip2", "decompress it first: bunzip2"},
	{"PK\x03\x04", "zip", "unpack it first"},
	{"KDMV", "vmdk", "convert it first: qemu-img convert -O qcow2"},
	{"# Disk DescriptorFile", "vmdk", "convert it first: qemu-img convert -O qcow2"},
	{"vhdxfile", "vhdx", "convert it first: qemu-img convert -O qcow2"},
	{"conectix", "vhd", "convert it first: qemu-img convert -O qcow2"},
	{"<<< ", "vdi", "convert it first: qemu-img convert -O qcow2"},
	{"QED\x00", "qed", "convert it first: qemu-img convert -O qcow2"},
	{"LUKS\xba\xbe", "luks", "it is encrypted: decrypt it first"},
	{"<", "text (a web page?)", "check the address it came from"},
}

// inspect looks at the beginning of an image and returns its format, qcow2 or
// raw. It refuses what would make QEMU open other files (a backing file, an
// external data file), what is encrypted or marked corrupt, sizes nobody has,
// and what is no disk image at all. No program of QEMU has seen the file by
// then.
func inspect(head []byte) (format string, err error) {
	if bytes.HasPrefix(head, []byte("QFI\xfb")) {
		return "qcow2", inspectQcow2(head)
	}
	for _, f := range foreign {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return "", badImage("it is %s: %s", f.what, f.fix)
		}
	}
	if len(head) < 512 || head[510] != 0x55 || head[511] != 0xaa {
		if isISO(head) {
			return "", badImage("it is a CD image: import it with --kind iso")
		}
		return "", badImage("it is neither qcow2 nor a raw disk with a boot sector")
	}
	return "raw", nil
}

// isoDescriptors is where the volume descriptors of ISO 9660 begin.
const isoDescriptors = 16 * 2048

// isISO reports whether the beginning of a file is that of an ISO 9660 image.
func isISO(head []byte) bool {
	return len(head) > isoDescriptors+6 && string(head[isoDescriptors+1:isoDescriptors+6]) == "CD001"
}

// inspectAs is inspect for a file below vm_templates, whose name says whether it
// is to be a CD image. A CD image is taken as raw bytes and nothing in it is
// looked at by QEMU.
func inspectAs(file string, head []byte) (format string, err error) {
	if !strings.HasSuffix(file, baadal.ISOSuffix) {
		return inspect(head)
	}
	if !isISO(head) {
		return "", badImage("it is not a CD image (ISO 9660)")
	}
	return "raw", nil
}

func inspectQcow2(head []byte) error {
	if len(head) < 72 {
		return badImage("the file is cut off within its header")
	}
	be := binary.BigEndian
	version := be.Uint32(head[4:])
	if version != 2 && version != 3 {
		return badImage("qcow version %d is not supported: qemu-img convert -O qcow2", version)
	}
	if be.Uint64(head[8:]) != 0 || be.Uint32(head[16:]) != 0 {
		return badImage("it stands on a backing file: qemu-img convert -O qcow2 makes a whole image of it")
	}
	if be.Uint32(head[32:]) != 0 {
		return badImage("it is encrypted: decrypt it first")
	}
	if size := be.Uint64(head[24:]); size == 0 || size > maxVirtualSize {
		return badImage("a virtual size of %d bytes is not possible", size)
	}
	if version == 2 {
		return inspectExtensions(head, 72)
	}
	if len(head) < 104 {
		return badImage("the file is cut off within its header")
	}
	features := be.Uint64(head[72:])
	if features&qcow2ExternalData != 0 {
		return errDataFile()
	}
	if features&qcow2Corrupt != 0 {
		return badImage("it is marked corrupt: qemu-img check -r all repairs what can be repaired")
	}
	return inspectExtensions(head, int(min(be.Uint32(head[100:]), headSize)))
}

// inspectExtensions walks the header extensions, which begin at the offset.
func inspectExtensions(head []byte, at int) error {
	for at+8 <= len(head) {
		kind, length := binary.BigEndian.Uint32(head[at:]), int64(binary.BigEndian.Uint32(head[at+4:]))
		if kind == 0 {
			return nil
		}
		if kind == qcow2DataFile {
			return errDataFile()
		}
		if length > headSize {
			break
		}
		at += 8 + int(length+7)&^7
	}
	return badImage("its header has no end")
}

func errDataFile() error {
	return badImage("its data lies in another file: qemu-img convert -O qcow2 makes a whole image of it")
}
