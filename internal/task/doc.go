// Package task is the durable queue: it runs operations step by step, writes a
// journal, retries what is worth it, undoes what failed, and goes on after the
// controller was killed. It knows no VM: what the steps do is package workflow's.
//
// The life of a task:
//
//	PENDING ──lease──► PROCESSING ──all steps done──► SUCCESS
//	   ▲                  │   │
//	   │ RETRY ◄─Unavailable  └─failed, cancelled, late──► undoing ──undone──► FAILED
//	   └──────backoff────┘                                   │
//	                                     an undo failed: FAILED with the undo still owed,
//	                                     tried with backoff until it is done (UndoPending)
//
// The journal has a line per step: started is written before its do, done with
// its output after. A worker that dies leaves a lease that runs out; whoever
// takes the task over continues at the journal's last line, so a do or an undo
// may run more than once and must allow it.
package task
