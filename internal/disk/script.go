package disk

import _ "embed"

// The scripts. They are fixed texts: nothing is ever put into them.
var (
	//go:embed files/prelude.sh
	prelude string
	//go:embed files/create.sh
	createScript string
	//go:embed files/remove.sh
	removeScript string
	//go:embed files/move.sh
	moveScript string
	//go:embed files/usage.sh
	usageScript string
	//go:embed files/entries.sh
	entriesScript string
	//go:embed files/template_begin.sh
	templateBeginScript string
	//go:embed files/template_write.sh
	templateWriteScript string
	//go:embed files/template_info.sh
	templateInfoScript string
	//go:embed files/template_finish.sh
	templateFinishScript string
	//go:embed files/template_remove.sh
	templateRemoveScript string
	//go:embed files/template_discard.sh
	templateDiscardScript string
	//go:embed files/extra_prelude.sh
	extraPrelude string
	//go:embed files/extra_create.sh
	extraCreateScript string
	//go:embed files/extra_remove.sh
	extraRemoveScript string
	//go:embed files/extra_move.sh
	extraMoveScript string
	//go:embed files/image_size.sh
	imageSizeScript string
	//go:embed files/sizes.sh
	sizesScript string
)
