package baadal

import (
	"encoding/json"
	"time"
)

// TaskState is where a task stands; the numbers are the specification's.
type TaskState int

// The states of a task.
const (
	TaskPending    TaskState = 1
	TaskProcessing TaskState = 2
	TaskSuccess    TaskState = 3
	TaskFailed     TaskState = 4
	TaskRetry      TaskState = 5 // waits for its next attempt
	TaskIgnore     TaskState = 6 // an administrator set it aside
	TaskPartial    TaskState = 7 // PARTIAL_SUCCESS: some children failed
)

var taskStateNames = map[TaskState]string{
	TaskPending: "pending", TaskProcessing: "processing", TaskSuccess: "success", TaskFailed: "failed",
	TaskRetry: "retry", TaskIgnore: "ignore", TaskPartial: "partial_success",
}

// TaskStates lists the states in the order of their numbers.
func TaskStates() []TaskState {
	return []TaskState{TaskPending, TaskProcessing, TaskSuccess, TaskFailed, TaskRetry, TaskIgnore, TaskPartial}
}

func (s TaskState) String() string { return nameOf(taskStateNames, s) }

// MarshalText writes the state's name.
func (s TaskState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a state's name.
func (s *TaskState) UnmarshalText(b []byte) (err error) {
	*s, err = valueOf(taskStateNames, "task state", string(b))
	return err
}

// Ended reports whether the task will not change any more for its requester.
// Undoing what a failed task left on an unreachable host may still go on: see
// Task.UndoPending.
func (s TaskState) Ended() bool {
	return s == TaskSuccess || s == TaskFailed || s == TaskIgnore || s == TaskPartial
}

// TaskKind names an operation; the specification's words.
type TaskKind string

// The kinds of tasks.
const (
	TaskVMCreate       TaskKind = "Create VM"
	TaskVMStart        TaskKind = "Start VM"
	TaskVMShutdown     TaskKind = "Shutdown VM"
	TaskVMReboot       TaskKind = "Reboot VM"
	TaskVMDestroy      TaskKind = "Destroy VM"
	TaskVMDelete       TaskKind = "Delete VM"
	TaskVMRestore      TaskKind = "Restore VM"
	TaskVMMigrate      TaskKind = "Migrate VM Between Hosts"      // the specification's name
	TaskVMMove         TaskKind = "Migrate VM Between Datastores" // likewise
	TaskVMPurge        TaskKind = "Purge VM"
	TaskVMSuspend      TaskKind = "Suspend VM"
	TaskVMResume       TaskKind = "Resume VM"
	TaskVMReset        TaskKind = "Reset VM"
	TaskVMSave         TaskKind = "Save VM"
	TaskVMEdit         TaskKind = "Edit VM Config"
	TaskDiskAdd        TaskKind = "Attach Disk"
	TaskDiskAttach     TaskKind = "Reattach Disk"
	TaskDiskDetach     TaskKind = "Detach Disk"
	TaskDiskDelete     TaskKind = "Delete Disk"
	TaskDiskPurge      TaskKind = "Purge Disk"
	TaskDiskGrow       TaskKind = "Grow Disk"
	TaskDiskLimit      TaskKind = "Limit Disk"
	TaskSnapshotCreate TaskKind = "Snapshot VM"
	TaskSnapshotRevert TaskKind = "Revert to Snapshot"
	TaskSnapshotDelete TaskKind = "Delete Snapshot"
	TaskTemplateImport TaskKind = "Import Template"
	TaskTemplateDelete TaskKind = "Delete Template"
	TaskNetworkApply   TaskKind = "Apply Network"
	TaskNetworkDelete  TaskKind = "Delete Network"
	TaskNetworkGrow    TaskKind = "Add Addresses"
	TaskNetworkShrink  TaskKind = "Remove Addresses"
	TaskHostAdd        TaskKind = "Add Host"
	TaskHostCheck      TaskKind = "Check Host"
	TaskAudit          TaskKind = "Audit"
	TaskVMClone        TaskKind = "Clone VM"
	TaskCloneCreate    TaskKind = "Create Clone"
	TaskBaseRemove     TaskKind = "Remove Base"
	TaskVMSaveTemplate TaskKind = "Save As Template" // the specification's name
	TaskVMExport       TaskKind = "Export VM"
	TaskVMImport       TaskKind = "Import VM"
	TaskVMLaunch       TaskKind = "Launch VM Image"
	TaskVMAdopt        TaskKind = "Adopt VM"
	TaskTransferRemove TaskKind = "Remove Transfer"
	TaskBackupCreate   TaskKind = "Backup VM"
	TaskBackupVerify   TaskKind = "Verify Backup"
	TaskBackupRestore  TaskKind = "Restore Backup" // as a new VM
	TaskBackupReplace  TaskKind = "Restore Backup in Place"
	TaskBackupDelete   TaskKind = "Delete Backup"
	TaskCDROMInsert    TaskKind = "Insert CD-ROM"
	TaskCDROMEject     TaskKind = "Eject CD-ROM"
	TaskNICAdd         TaskKind = "Add NIC"
	TaskNICChange      TaskKind = "Change Network"
	TaskNICRemove      TaskKind = "Remove NIC"
	TaskDiskFlatten    TaskKind = "Flatten Disk"
)

// Task is one durable operation.
type Task struct {
	ID             int64           `json:"id"`
	Kind           TaskKind        `json:"kind"`
	State          TaskState       `json:"state" enum:"pending,processing,success,failed,retry,ignore,partial_success"`
	Generation     int64           `json:"generation"`
	Subject        Subject         `json:"subject" doc:"What it is about."`
	Params         json.RawMessage `json:"-"`
	RequesterID    int64           `json:"requester_id"`
	Requester      string          `json:"requester"`
	OrganisationID int64           `json:"organisation_id"`
	OwnerID        int64           `json:"owner_id" doc:"Owner of the subject, who may see the task too."`
	HostID         int64           `json:"host_id,omitempty" doc:"The host whose slots it takes; 0 for none."`
	Cost           int             `json:"-"`
	Exclusive      bool            `json:"-"` // holds its subject: at most one such active task per subject

	Step        string     `json:"step,omitempty" doc:"The step at work, or the one that failed."`
	Progress    int        `json:"progress" minimum:"0" maximum:"100"`
	Message     string     `json:"message,omitempty" doc:"The result in words; the specification's messages."`
	Code        string     `json:"code,omitempty" doc:"Stable code of the failure."`
	Attempt     int        `json:"attempt" doc:"How often the present step was tried."`
	CancelBy    string     `json:"cancel_by,omitempty" doc:"Who asked to cancel it."`
	Undoing     bool       `json:"undoing" doc:"It failed or was cancelled and takes back what it did."`
	UndoPending bool       `json:"undo_pending" doc:"It ended as failed; what could not be taken back yet (an unreachable host) is tried until it is."`
	CreatedAt   time.Time  `json:"created_at"`
	StartedAt   *time.Time `json:"started_at,omitempty"`
	EndedAt     *time.Time `json:"ended_at,omitempty"`
	RunAfter    time.Time  `json:"run_after"`
	Deadline    *time.Time `json:"deadline,omitempty"`

	ParentID int64 `json:"parent_id,omitempty" doc:"The task that this one is a part of."`

	Steps    []TaskStep        `json:"steps,omitempty" doc:"Only in the answer about one task."`
	Children []TaskChild       `json:"children,omitempty" doc:"The tasks that are parts of this one; only in the answer about one task."`
	Actions  map[string]Access `json:"actions,omitempty"`
}

// TaskChild is a part of a task, as the task shows it.
type TaskChild struct {
	ID       int64     `json:"id"`
	Subject  Subject   `json:"subject"`
	State    TaskState `json:"state" enum:"pending,processing,success,failed,retry,ignore,partial_success"`
	Progress int       `json:"progress"`
	Message  string    `json:"message,omitempty"`
}

// Subject is the thing a task or event is about.
type Subject struct {
	Kind string `json:"kind" doc:"vm, host, datastore, template, network, user, setting, cloud"`
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

// StepState is where one step of a task stands in the journal.
type StepState string

// The states of a step.
const (
	StepWaiting StepState = "waiting"
	StepStarted StepState = "started"
	StepDone    StepState = "done"
	StepFailed  StepState = "failed" // its do failed; not yet undone
	StepUndone  StepState = "undone"
)

// TaskStep is a step as the journal has it.
type TaskStep struct {
	Seq       int             `json:"seq"`
	Name      string          `json:"name"`
	State     StepState       `json:"state" enum:"waiting,started,done,failed,undone"`
	Output    json.RawMessage `json:"-"`
	Detail    string          `json:"detail,omitempty" doc:"Figures of the step, or what was given back."`
	Error     string          `json:"error,omitempty"`
	StartedAt *time.Time      `json:"started_at,omitempty"`
	EndedAt   *time.Time      `json:"ended_at,omitempty"`
}
