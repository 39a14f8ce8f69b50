package baadal

// Plan is the answer to a dry run: what the same call would do now.
type Plan struct {
	Summary   string        `json:"summary" doc:"The plan in one sentence."`
	Host      string        `json:"host,omitempty"`
	Datastore string        `json:"datastore,omitempty"`
	Network   string        `json:"network,omitempty"`
	Why       string        `json:"why,omitempty" doc:"Why there."`
	Hosts     []HostVerdict `json:"hosts,omitempty" doc:"Every host that was considered."`
	Claims    []string      `json:"claims,omitempty" doc:"What would be claimed."`
	Steps     []string      `json:"steps,omitempty" doc:"The task's steps."`
	Effects   []string      `json:"effects,omitempty" doc:"What it means for people."`
}

// HostVerdict is what placement thinks of one host for one VM.
type HostVerdict struct {
	Host   string  `json:"host"`
	Fits   bool    `json:"fits"`
	Score  float64 `json:"score" doc:"0 to 1; the free share that is left afterwards. Higher is better."`
	Reason string  `json:"reason" doc:"Why it fits or not, in words with numbers."`
}

// Change is the answer to a call that changes something: the resource as it is
// now, and the task that does the rest; or, for a dry run, only the plan.
type Change[T any] struct {
	Resource *T    `json:"resource,omitempty"`
	Task     *Task `json:"task,omitempty"`
	Plan     *Plan `json:"plan,omitempty"`
}

// ChangeOptions goes with a call that changes something.
type ChangeOptions struct {
	DryRun     bool
	Generation int64 // from If-Match; 0 means whatever it is
}
