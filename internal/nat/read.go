package nat

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"baadal"
)

// listing is what nft -j list table prints, as far as it matters here.
type listing struct {
	Items []struct {
		Set *listedSet `json:"set"`
		Map *listedSet `json:"map"`

		Chain map[string]any `json:"chain"`
		Rule  map[string]any `json:"rule"`
	} `json:"nftables"`
}

type listedSet struct {
	Name string            `json:"name"`
	Elem []json.RawMessage `json:"elem"`
}

// contents are the elements that a box has, with the counters.
type contents struct {
	elements elements
	traffic  map[netip.Addr]baadal.PublicTraffic
	rules    string // chains, rules and the sets that go with them, as they can be compared
}

// parse reads a listing made at the given time. Sets of other names are left out.
func parse(raw []byte, at time.Time) (c contents, err error) {
	var l listing
	if err := json.Unmarshal(raw, &l); err != nil {
		return c, fmt.Errorf("read listing of nft: %w", err)
	}
	c = contents{elements: elements{}, traffic: map[netip.Addr]baadal.PublicTraffic{}}
	for _, item := range l.Items {
		for _, r := range []map[string]any{item.Chain, item.Rule} {
			if r != nil {
				delete(r, "handle") // another one in each table
				text, err := json.Marshal(r)
				if err != nil {
					return c, err
				}
				c.rules += string(text) + "\n"
			}
		}
		for _, s := range []*listedSet{item.Set, item.Map} {
			if s == nil {
				continue
			}
			if s.Name == "pool" || s.Name == "ports" { // they come with the rules
				c.rules += fmt.Sprintf("%s %s\n", s.Name, s.Elem)
				continue
			}
			for _, raw := range s.Elem {
				if err := c.read(s.Name, raw, item.Map != nil, at); err != nil {
					return c, fmt.Errorf("read set %s: %w", s.Name, err)
				}
			}
		}
	}
	return c, nil
}

type listedElem struct {
	Val     json.RawMessage `json:"val"`
	Expires *int64          `json:"expires"`
	Counter *struct {
		Packets int64 `json:"packets"`
		Bytes   int64 `json:"bytes"`
	} `json:"counter"`
}

func (c *contents) read(set string, raw json.RawMessage, isMap bool, at time.Time) error {
	var el element
	key := raw
	if isMap {
		var pair []json.RawMessage
		if err := json.Unmarshal(raw, &pair); err != nil || len(pair) != 2 {
			return errors.Join(fmt.Errorf("%.100s is no pair", raw), err)
		}
		value, err := words(pair[1])
		if err != nil {
			return err
		}
		key, el.value = pair[0], value
	}
	var in listedElem
	var outer struct {
		Elem *listedElem `json:"elem"`
	}
	if json.Unmarshal(key, &outer) == nil && outer.Elem != nil {
		in = *outer.Elem
		key = in.Val
	}
	name, err := words(key)
	if err != nil {
		return err
	}
	if in.Expires != nil { // whole seconds, rounded down
		el.ends = at.Add(time.Duration(*in.Expires) * time.Second)
	}
	if in.Counter != nil {
		if ip, err := netip.ParseAddr(name); err == nil {
			t := c.traffic[ip]
			t.At = at
			if set == setInward {
				t.InBytes, t.InPackets = in.Counter.Bytes, in.Counter.Packets
			} else {
				t.OutBytes, t.OutPackets = in.Counter.Bytes, in.Counter.Packets
			}
			c.traffic[ip] = t
		}
	}
	c.elements.put(set, name, el)
	return nil
}

// words is a key or value as we write it.
func words(raw json.RawMessage) (string, error) {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return "", err
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case float64:
		return strconv.Itoa(int(v)), nil
	case map[string]any:
		if parts, ok := v["concat"].([]any); ok {
			var all []string
			for _, p := range parts {
				all = append(all, fmt.Sprint(p))
			}
			return strings.Join(all, " . "), nil
		}
	}
	return "", fmt.Errorf("%.100s is not of ours", raw)
}

// rounding is how far the end of an element that was read back may be from the
// one that was written: nft tells whole seconds, and telling takes time.
const rounding = 4 * time.Second

// matches reports whether a box has what it is to have.
func (e elements) matches(want elements, now time.Time) bool {
	covers := func(a, b elements) bool {
		for set, keys := range a {
			for key, el := range keys {
				if !el.ends.IsZero() && el.ends.Before(now.Add(rounding)) {
					continue // it ends about now
				}
				o, ok := b[set][key]
				if !ok || o.value != el.value || o.ends.IsZero() != el.ends.IsZero() || o.ends.Sub(el.ends).Abs() > rounding {
					return false
				}
			}
		}
		return true
	}
	return covers(e, want) && covers(want, e)
}

// seen is what the contents mean.
func (c contents) seen() (s baadal.NATSeen, err error) {
	s = baadal.NATSeen{Table: true, Traffic: c.traffic}
	for pub, el := range c.elements[mapPublic] {
		p, err1 := netip.ParseAddr(pub)
		to, err2 := netip.ParseAddr(el.value)
		if err := errors.Join(err1, err2); err != nil {
			return s, err
		}
		s.Publics = append(s.Publics, baadal.NATPublic{Public: p, Private: to})
	}
	slices.SortFunc(s.Publics, func(a, b baadal.NATPublic) int { return a.Public.Compare(b.Public) })
	for _, proto := range []baadal.Protocol{baadal.TCP, baadal.UDP} {
		for key, el := range c.elements[mapForward(proto)] {
			_, port, _ := strings.Cut(key, " . ")
			n, err1 := strconv.Atoi(port)
			to, err2 := netip.ParseAddrPort(strings.Replace(el.value, " . ", ":", 1))
			if err := errors.Join(err1, err2); err != nil {
				return s, err
			}
			_, masked := c.elements[setMasked][el.value]
			s.Forwards = append(s.Forwards, baadal.NATForward{Protocol: proto, PublicPort: n, Target: to, Masked: masked, Expires: el.ends})
		}
	}
	slices.SortFunc(s.Forwards, func(a, b baadal.NATForward) int { return a.PublicPort - b.PublicPort })
	return s, nil
}
