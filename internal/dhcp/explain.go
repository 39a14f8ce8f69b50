package dhcp

import (
	"fmt"
	"path"
	"strings"

	"baadal"
	"baadal/internal/ssh"
)

// The exit codes of the scripts.
const (
	codeBusy          = 80
	codeNoMain        = 81
	codeNoInclude     = 82
	codeMainBroken    = 83
	codeRefused       = 84
	codeRestartFailed = 85
	codeDown          = 86
	codeCutOff        = 87
	codeNoServer      = 88
	codeStopped       = 89

	codeSignal = 128 // and the signal's number
)

// explain turns a failure of the script into an error with a kind. Only what
// passes by itself is Unavailable.
func (s *Server) explain(res ssh.Result) error {
	said := strings.TrimSpace(string(res.Stderr))
	box := s.box()
	e := &baadal.Error{
		Kind: baadal.Conflict, Detail: s.words(said),
		Err: fmt.Errorf("script on %s ended with code %d: %s", box, res.Code, said),
	}
	switch res.Code {
	case codeBusy, codeCutOff:
		e.Kind, e.Code, e.Title = baadal.Unavailable, "dhcp_busy", "the reservations could not be written at "+box
	case codeNoMain:
		e.Code, e.Title = "dhcp_no_config", "the configuration of the DHCP server at "+box+" is missing"
	case codeNoServer:
		e.Code, e.Title = "dhcp_no_server", "there is no "+s.name+" at "+box
		e.WithNext("Install it on "+box, "apt-get install "+s.pack)
	case codeNoInclude:
		e.Code, e.Title = "dhcp_no_include", "the DHCP server at "+box+" does not read our reservations as it must"
		e.WithNext("Add to "+s.opts.MainConfig+" on "+box, s.include(s.opts.File))
	case codeMainBroken:
		e.Code, e.Title = "dhcp_config_broken", "the DHCP server's own configuration at "+box+" has a mistake; our reservations were not changed"
		e.WithNext("Mend it on "+box+" and look", s.look+" "+s.opts.MainConfig)
	case codeRefused:
		e.Code, e.Title = "dhcp_refused", "the DHCP server at "+box+" refuses the reservations; it goes on with the old ones"
	case codeRestartFailed:
		e.Code, e.Title = "dhcp_restart_failed", "the DHCP server at "+box+" did not start with the new reservations; it runs with the old ones"
	case codeDown, codeStopped:
		e.Kind, e.Code, e.Title = baadal.Unavailable, "dhcp_down", "the DHCP server at "+box+" does not start"
		if res.Code == codeStopped {
			e.Title = "the DHCP server at " + box + " does not run"
		}
		e.WithNext("See why on "+box, "journalctl -u "+s.unit+" -n 50")
	default:
		folder := path.Dir(s.opts.File)
		e.Code, e.Title = "dhcp_failed", "what is to be done at the DHCP server "+box+" for "+s.opts.File+" failed"
		switch {
		case strings.Contains(said, "No space left on device"), strings.Contains(said, "Disk quota exceeded"):
			e.Kind, e.Code, e.Title = baadal.Exhausted, "dhcp_box_full", "no space is left in "+folder+" at the DHCP server "+box+", which goes on with the old reservations"
			e.WithNext("Make room on "+box, "df -h "+folder)
		case res.Code > codeSignal:
			e.Kind = baadal.Unavailable
		}
	}
	return e
}

// box names the machine for people.
func (s *Server) box() string {
	if s.host.Address != "" {
		return s.host.Address
	}
	return s.host.Name
}
