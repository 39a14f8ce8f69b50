package nat

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"baadal"
)

// The names of our sets and maps. Their keys and values are written as nft
// writes them: parts of a concatenation with " . " between them.
const (
	mapPublic  = "public"  // public address : private address
	mapPrivate = "private" // the other way round
	setPairs   = "pairs"   // public . private: connections of others are cut
	setInward  = "inward"  // private addresses, with what came in
	setOutward = "outward" // private addresses, with what went out
	setMasked  = "masked"  // targets of mappings that answer to the box only
)

// mapForward and setOpen are the mappings of a protocol: public address . port :
// target . port, and all four for the connections that may go on.
func mapForward(p baadal.Protocol) string { return "forward_" + string(p) }
func setOpen(p baadal.Protocol) string    { return "open_" + string(p) }

// element is what is in a set or map beside its key.
type element struct {
	value string    // of a map
	ends  time.Time // zero: never
}

// elements are the contents of all sets, by set and key.
type elements map[string]map[string]element

func (e elements) put(set, key string, el element) {
	if e[set] == nil {
		e[set] = map[string]element{}
	}
	e[set][key] = el
}

// elementsOf is what the table is to hold.
func elementsOf(t baadal.NATTable, public netip.Addr) elements {
	all := elements{}
	for _, p := range t.Publics {
		pub, priv := p.Public.String(), p.Private.String()
		all.put(mapPublic, pub, element{value: priv})
		all.put(mapPrivate, priv, element{value: pub})
		all.put(setPairs, pub+" . "+priv, element{})
		all.put(setInward, priv, element{})
		all.put(setOutward, priv, element{})
	}
	for _, f := range t.Forwards {
		key := public.String() + " . " + strconv.Itoa(f.PublicPort)
		target := f.Target.Addr().String() + " . " + strconv.Itoa(int(f.Target.Port()))
		all.put(mapForward(f.Protocol), key, element{value: target, ends: f.Expires})
		all.put(setOpen(f.Protocol), key+" . "+target, element{ends: f.Expires})
		if f.Masked {
			all.put(setMasked, target, element{})
		}
	}
	return all
}

// skeleton is the table without the elements that change while the cloud runs.
func (b *Box) skeleton(t baadal.NATTable) string {
	var pool, ports []string
	for _, p := range baadal.Blocks(t.Pool) {
		pool = append(pool, strings.TrimSuffix(p.String(), "/32"))
	}
	for _, r := range t.Ports {
		ports = append(ports, fmt.Sprintf("%d-%d", r.First, r.Last))
	}
	list := func(all []string) string {
		if len(all) == 0 {
			return ""
		}
		return " elements = { " + strings.Join(all, ", ") + " };"
	}
	text := strings.NewReplacer("TABLE", b.opts.Table, "OUTSIDE", strconv.Quote(b.opts.Interface), "ADDRESS", b.opts.Public.String(),
		"POOL", list(pool), "PORTS", list(ports)).Replace(skeletonText)
	sum := sha256.Sum256([]byte(text))
	return strings.Replace(text, "MADE", madePrefix+hex.EncodeToString(sum[:8]), 1)
}

// madePrefix begins the name of an empty chain that says which skeleton a table
// was made from. To flush it changes nothing, and fails in any other table: so
// it is the first command of every change.
const madePrefix = "made_"

// madeChainOf is the name of that chain.
func madeChainOf(skeleton string) string {
	_, rest, _ := strings.Cut(skeleton, "chain "+madePrefix)
	name, _, _ := strings.Cut(rest, " ")
	return madePrefix + name
}

// skeletonText is ours alone: the chains come a moment before those of others,
// and say nothing about what is not ours.
//
// What is forwarded under an address or port of ours must be allowed now, not
// only when it began: so a mapping that ends, and an address that changes hands,
// cut what is open. Rejected, not dropped: else a connection would come to life
// again with a new mapping.
const skeletonText = `table ip TABLE
delete table ip TABLE
table ip TABLE {
	comment "made by Baadal's controller; what is changed by hand is lost"
	set pool { type ipv4_addr; flags interval;POOL }
	set ports { type inet_service; flags interval;PORTS }
	map public { type ipv4_addr : ipv4_addr; }
	map private { type ipv4_addr : ipv4_addr; }
	set pairs { type ipv4_addr . ipv4_addr; }
	set inward { type ipv4_addr; counter; }
	set outward { type ipv4_addr; counter; }
	set masked { type ipv4_addr . inet_service; }
	map forward_tcp { type ipv4_addr . inet_service : ipv4_addr . inet_service; flags timeout; }
	map forward_udp { type ipv4_addr . inet_service : ipv4_addr . inet_service; flags timeout; }
	set open_tcp { type ipv4_addr . inet_service . ipv4_addr . inet_service; flags timeout; }
	set open_udp { type ipv4_addr . inet_service . ipv4_addr . inet_service; flags timeout; }
	chain prerouting {
		type nat hook prerouting priority dstnat - 1; policy accept;
		dnat ip to ip daddr . tcp dport map @forward_tcp
		dnat ip to ip daddr . udp dport map @forward_udp
		dnat to ip daddr map @public
	}
	chain postrouting {
		type nat hook postrouting priority srcnat - 1; policy accept;
		ct status dnat ip daddr . th dport @masked masquerade
		iifname != OUTSIDE oifname != OUTSIDE ct status dnat ct original ip daddr @pool masquerade
		iifname != OUTSIDE oifname != OUTSIDE ct status dnat meta l4proto { tcp, udp } ct original ip daddr ADDRESS ct original proto-dst @ports masquerade
		oifname OUTSIDE snat to ip saddr map @private
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		ct status dnat meta l4proto { tcp, udp } ct original ip daddr ADDRESS ct original proto-dst @ports jump timed
		ct status dnat ct original ip daddr @pool ct original ip daddr . ct reply ip saddr != @pairs jump ended
		ct status snat ct reply ip daddr @pool ct reply ip daddr . ct original ip saddr != @pairs jump ended
		iifname OUTSIDE ip daddr @inward
		oifname OUTSIDE ip saddr @outward
	}
	chain timed {
		meta l4proto tcp ct original ip daddr . ct original proto-dst . ct reply ip saddr . ct reply proto-src @open_tcp return
		meta l4proto udp ct original ip daddr . ct original proto-dst . ct reply ip saddr . ct reply proto-src @open_udp return
		jump ended
	}
	chain ended {
		meta l4proto tcp reject with tcp reset
		reject with icmp admin-prohibited
	}
	chain MADE { }
	chain input {
		type filter hook input priority filter; policy accept;
		ip daddr @pool jump ended
	}
}
`

// perLine is how many elements a line of nft's input has.
const perLine = 200

// commands writes what makes one set of elements of another, in one
// transaction. An element that gets another end is taken out and put in again:
// packets see it before or after, never between. Nothing comes of no difference.
func (b *Box) commands(from, to elements, now time.Time, traffic map[netip.Addr]baadal.PublicTraffic) []byte {
	var out bytes.Buffer
	first, drop, add := map[string][]string{}, map[string][]string{}, map[string][]string{}
	for set, keys := range from {
		for key, old := range keys {
			el, stays := to[set][key]
			if stays && el.same(old) {
				continue
			}
			if old.over(now) && (!stays || el.over(now)) {
				continue
			}
			// The box may have ended it already, or not yet though it is over here. It is put in as it was, and can be taken out.
			if !old.ends.IsZero() {
				first[set] = append(first[set], element{value: old.value, ends: now.Add(time.Minute)}.text(set, key, now, nil))
			}
			drop[set] = append(drop[set], key)
		}
	}
	for set, keys := range to {
		for key, el := range keys {
			old, there := from[set][key]
			if !el.over(now) && (!there || !el.same(old)) {
				add[set] = append(add[set], el.text(set, key, now, traffic))
			}
		}
	}
	for _, part := range []struct {
		verb string
		sets map[string][]string
	}{{"add", first}, {"delete", drop}, {"add", add}} {
		for _, set := range slices.Sorted(maps.Keys(part.sets)) {
			slices.Sort(part.sets[set])
			for some := range slices.Chunk(part.sets[set], perLine) {
				fmt.Fprintf(&out, "%s element ip %s %s { %s }\n", part.verb, b.opts.Table, set, strings.Join(some, ", "))
			}
		}
	}
	return out.Bytes()
}

func (e element) over(now time.Time) bool { return !e.ends.IsZero() && !e.ends.After(now) }

func (e element) same(o element) bool { return e.value == o.value && e.ends.Equal(o.ends) }

// text is the element as nft reads it.
func (e element) text(set, key string, now time.Time, traffic map[netip.Addr]baadal.PublicTraffic) string {
	s := key
	if ip, err := netip.ParseAddr(key); err == nil {
		switch t := traffic[ip]; set {
		case setInward:
			s += fmt.Sprintf(" counter packets %d bytes %d", t.InPackets, t.InBytes)
		case setOutward:
			s += fmt.Sprintf(" counter packets %d bytes %d", t.OutPackets, t.OutBytes)
		}
	}
	if !e.ends.IsZero() {
		s += fmt.Sprintf(" timeout %dms", max(1, e.ends.Sub(now).Milliseconds()))
	}
	if e.value != "" {
		s += " : " + e.value
	}
	return s
}

// routes writes what makes the box answer for the pool, where it does not yet,
// and for nothing else.
func routes(have, want []netip.Prefix) []byte {
	var out bytes.Buffer
	for _, p := range have {
		if !slices.Contains(want, p) {
			fmt.Fprintf(&out, "route del local %s dev lo proto %d table local\n", p, routeProtocol)
		}
	}
	for _, p := range want {
		if !slices.Contains(have, p) {
			fmt.Fprintf(&out, "route replace local %s dev lo proto %d table local\n", p, routeProtocol)
		}
	}
	return out.Bytes()
}
