package store

import "sync"

// The topics that can be subscribed to.
const (
	TopicTask    = "task"    // a task may be due
	TopicEvent   = "event"   // there are events that were not there before
	TopicFlow    = "flow"    // what a VM's NICs may send may have changed
	TopicNetwork = "network" // networks changed, or a host came back that may lack them
	TopicNAT     = "nat"     // the NAT box is to have something else
)

// notifier wakes subscribers. A wake-up carries no message and many may become
// one: who is woken looks for himself.
type notifier struct {
	mu   sync.Mutex
	subs map[string]map[chan struct{}]struct{}
}

func newNotifier() *notifier {
	return &notifier{subs: map[string]map[chan struct{}]struct{}{}}
}

// Subscribe returns a channel that becomes readable after every commit that
// woke the topic. It never closes and holds one wake-up. stop ends it and may
// be called more than once.
func (db *DB) Subscribe(topic string) (ch <-chan struct{}, stop func()) {
	n, c := db.topics, make(chan struct{}, 1)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.subs[topic] == nil {
		n.subs[topic] = map[chan struct{}]struct{}{}
	}
	n.subs[topic][c] = struct{}{}
	return c, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.subs[topic], c)
	}
}

func (n *notifier) wake(topic string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.subs[topic] {
		select {
		case c <- struct{}{}:
		default: // one is waiting already
		}
	}
}

// wakeAll wakes every subscriber: after a pause in listening anything may have happened.
func (n *notifier) wakeAll() {
	n.mu.Lock()
	topics := make([]string, 0, len(n.subs))
	for topic := range n.subs {
		topics = append(topics, topic)
	}
	n.mu.Unlock()
	for _, topic := range topics {
		n.wake(topic)
	}
}
