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
)
