package baadal

import "slices"

// Action is something a person may ask for. Every API route names one; the
// table below says who may.
type Action string

// The actions.
const (
	ActionVMCreate   Action = "vm.create"
	ActionVMRead     Action = "vm.read"
	ActionVMStart    Action = "vm.start"
	ActionVMShutdown Action = "vm.shutdown"
	ActionVMReboot   Action = "vm.reboot"
	ActionVMDestroy  Action = "vm.destroy"
	ActionVMDelete   Action = "vm.delete"
	ActionVMRestore  Action = "vm.restore"
	ActionVMMigrate  Action = "vm.migrate"
	ActionVMPassword Action = "vm.password"
	ActionVMSuspend  Action = "vm.suspend"
	ActionVMResume   Action = "vm.resume"
	ActionVMReset    Action = "vm.reset"
	ActionVMSave     Action = "vm.save"
	ActionVMClone    Action = "vm.clone"
	ActionVMEdit     Action = "vm.edit"
	ActionVMMove     Action = "vm.move" // to another datastore

	ActionVMConsole Action = "vm.console" // see its screen and type on it

	ActionVNCRead   Action = "vnc.read" // who may look from elsewhere, and how long
	ActionVNCGrant  Action = "vnc.grant"
	ActionVNCExtend Action = "vnc.extend"
	ActionVNCEnd    Action = "vnc.end"

	ActionVMSaveTemplate Action = "vm.save_template"
	ActionVMExport       Action = "vm.export"
	ActionVMImport       Action = "vm.import"
	ActionVMLaunch       Action = "vm.launch" // from an image that lies on a datastore: it could be anybody's
	ActionVMAdopt        Action = "vm.adopt"
	ActionUpload         Action = "upload"
	ActionVMFlatten      Action = "vm.flatten"

	ActionDiskAdd    Action = "disk.add"
	ActionDiskAttach Action = "disk.attach"
	ActionDiskDetach Action = "disk.detach"
	ActionDiskDelete Action = "disk.delete"
	ActionDiskGrow   Action = "disk.grow"
	ActionDiskLimit  Action = "disk.limit"

	ActionCDROMInsert Action = "cdrom.insert"
	ActionCDROMEject  Action = "cdrom.eject"

	ActionNICAdd    Action = "nic.add"
	ActionNICChange Action = "nic.change"
	ActionNICRemove Action = "nic.remove"

	ActionSnapshotCreate   Action = "snapshot.create"
	ActionSnapshotRevert   Action = "snapshot.revert"
	ActionSnapshotDelete   Action = "snapshot.delete"
	ActionSnapshotSchedule Action = "snapshot.schedule"

	ActionBackupRead     Action = "backup.read"
	ActionBackupCreate   Action = "backup.create"
	ActionBackupVerify   Action = "backup.verify"
	ActionBackupRestore  Action = "backup.restore"
	ActionBackupReplace  Action = "backup.replace" // restore in place
	ActionBackupDelete   Action = "backup.delete"
	ActionBackupSchedule Action = "backup.schedule"

	ActionAffinityRead   Action = "affinity.read"
	ActionAffinityCreate Action = "affinity.create"
	ActionAffinityUpdate Action = "affinity.update"
	ActionAffinityDelete Action = "affinity.delete"

	ActionSecGroupRead   Action = "secgroup.read"
	ActionSecGroupCreate Action = "secgroup.create"
	ActionSecGroupUpdate Action = "secgroup.update"
	ActionSecGroupDelete Action = "secgroup.delete"

	ActionHostRead   Action = "host.read"
	ActionHostAdd    Action = "host.add"
	ActionHostCheck  Action = "host.check"
	ActionHostRemove Action = "host.remove"

	ActionDatastoreRead   Action = "datastore.read"
	ActionDatastoreAdd    Action = "datastore.add"
	ActionDatastoreRemove Action = "datastore.remove"

	ActionTemplateRead   Action = "template.read"
	ActionTemplateImport Action = "template.import"
	ActionTemplateDelete Action = "template.delete"

	ActionNetworkRead      Action = "network.read"
	ActionNetworkAddresses Action = "network.addresses"
	ActionNetworkCreate    Action = "network.create"
	ActionNetworkUpdate    Action = "network.update"
	ActionNetworkDelete    Action = "network.delete"

	ActionPublicRead   Action = "public.read"
	ActionPublicAdd    Action = "public.add" // to the pool
	ActionPublicRemove Action = "public.remove"

	ActionForwardRead   Action = "forward.read" // of a VM's mappings: whoever sees the VM
	ActionForwardAdd    Action = "forward.add"
	ActionForwardExtend Action = "forward.extend"
	ActionForwardEnd    Action = "forward.end"

	ActionTaskRead   Action = "task.read"
	ActionTaskCancel Action = "task.cancel"
	ActionTaskRetry  Action = "task.retry"
	ActionTaskIgnore Action = "task.ignore"

	ActionUserRead   Action = "user.read"
	ActionUserCreate Action = "user.create"
	ActionUserUpdate Action = "user.update"

	ActionTokenRead   Action = "token.read"
	ActionTokenCreate Action = "token.create"
	ActionTokenRevoke Action = "token.revoke"

	ActionAuditRead   Action = "audit.read"
	ActionAuditRepair Action = "audit.repair"

	ActionSettingRead   Action = "setting.read"
	ActionSettingUpdate Action = "setting.update"

	ActionEventRead Action = "event.read"
	ActionSelf      Action = "self"   // what every signed-in user may: who am I, change my password, sign out
	ActionPublic    Action = "public" // no sign-in needed
)

// Scope is how far a permission reaches.
type Scope int

// The scopes, from nothing to everything.
const (
	ScopeNone Scope = iota
	ScopeOwn        // things the caller owns or asked for
	ScopeOrg        // things of the caller's organisation
	ScopeAny
)

// permission is one row of the table: the scope each role has.
type permission struct{ user, faculty, orgadmin, admin Scope }

// permissions is the whole of it: what is not here, nobody may.
var permissions = map[Action]permission{
	//                      user       faculty    orgadmin   admin
	ActionVMCreate:         {ScopeNone, ScopeNone, ScopeOrg, ScopeAny},
	ActionVMRead:           {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionVMStart:          {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionVMShutdown:       {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionVMReboot:         {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionVMDestroy:        {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionVMDelete:         {ScopeNone, ScopeOwn, ScopeOrg, ScopeAny},
	ActionVMRestore:        {ScopeNone, ScopeOwn, ScopeOrg, ScopeAny},
	ActionVMMigrate:        {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionVMMove:           {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionVMPassword:       {ScopeOwn, ScopeOwn, ScopeOwn, ScopeOwn},
	ActionVMConsole:        {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionVNCRead:          {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionVNCGrant:         {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionVNCExtend:        {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionVNCEnd:           {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionVMSuspend:        {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionVMResume:         {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionVMReset:          {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionVMSave:           {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionVMClone:          {ScopeNone, ScopeNone, ScopeOrg, ScopeAny},
	ActionVMEdit:           {ScopeNone, ScopeNone, ScopeOrg, ScopeAny},
	ActionVMSaveTemplate:   {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionVMExport:         {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionVMImport:         {ScopeNone, ScopeNone, ScopeOrg, ScopeAny},
	ActionVMLaunch:         {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionVMAdopt:          {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionUpload:           {ScopeNone, ScopeNone, ScopeOwn, ScopeAny},
	ActionVMFlatten:        {ScopeNone, ScopeNone, ScopeOrg, ScopeAny},
	ActionDiskAdd:          {ScopeNone, ScopeNone, ScopeOrg, ScopeAny},
	ActionDiskAttach:       {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionDiskDetach:       {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionDiskDelete:       {ScopeNone, ScopeOwn, ScopeOrg, ScopeAny},
	ActionDiskGrow:         {ScopeNone, ScopeNone, ScopeOrg, ScopeAny},
	ActionDiskLimit:        {ScopeNone, ScopeNone, ScopeOrg, ScopeAny},
	ActionCDROMInsert:      {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionCDROMEject:       {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionNICAdd:           {ScopeNone, ScopeNone, ScopeOrg, ScopeAny},
	ActionNICChange:        {ScopeNone, ScopeNone, ScopeOrg, ScopeAny},
	ActionNICRemove:        {ScopeNone, ScopeNone, ScopeOrg, ScopeAny},
	ActionSnapshotCreate:   {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionSnapshotRevert:   {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionSnapshotDelete:   {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionSnapshotSchedule: {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionBackupRead:       {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionBackupCreate:     {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionBackupVerify:     {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionBackupRestore:    {ScopeNone, ScopeOwn, ScopeOrg, ScopeAny},
	ActionBackupReplace:    {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionBackupDelete:     {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionBackupSchedule:   {ScopeNone, ScopeOwn, ScopeOrg, ScopeAny},
	ActionAffinityRead:     {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionAffinityCreate:   {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionAffinityUpdate:   {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionAffinityDelete:   {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionSecGroupRead:     {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionSecGroupCreate:   {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionSecGroupUpdate:   {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionSecGroupDelete:   {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionHostRead:         {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionHostAdd:          {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionHostCheck:        {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionHostRemove:       {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionDatastoreRead:    {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionDatastoreAdd:     {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionDatastoreRemove:  {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionTemplateRead:     {ScopeAny, ScopeAny, ScopeAny, ScopeAny},
	ActionTemplateImport:   {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionTemplateDelete:   {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny}, // whose it is to delete, sees it; without an owner everybody does, and it is the administrators' to delete
	ActionNetworkRead:      {ScopeOrg, ScopeOrg, ScopeOrg, ScopeAny}, // those that are visible to the caller's organisation
	ActionNetworkAddresses: {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionNetworkCreate:    {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionNetworkUpdate:    {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionNetworkDelete:    {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionPublicRead:       {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionPublicAdd:        {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionPublicRemove:     {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionForwardRead:      {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionForwardAdd:       {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionForwardExtend:    {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionForwardEnd:       {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionTaskRead:         {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionTaskCancel:       {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionTaskRetry:        {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionTaskIgnore:       {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionUserRead:         {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionUserCreate:       {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionUserUpdate:       {ScopeOwn, ScopeOwn, ScopeOwn, ScopeAny},
	ActionTokenRead:        {ScopeOwn, ScopeOwn, ScopeOwn, ScopeOwn},
	ActionTokenCreate:      {ScopeOwn, ScopeOwn, ScopeOwn, ScopeOwn},
	ActionTokenRevoke:      {ScopeOwn, ScopeOwn, ScopeOwn, ScopeAny},
	ActionAuditRead:        {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionAuditRepair:      {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionSettingRead:      {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionSettingUpdate:    {ScopeNone, ScopeNone, ScopeNone, ScopeAny},
	ActionEventRead:        {ScopeOwn, ScopeOwn, ScopeOrg, ScopeAny},
	ActionSelf:             {ScopeOwn, ScopeOwn, ScopeOwn, ScopeOwn},
}

// Actions lists every action of the permission table.
func Actions() []Action {
	all := make([]Action, 0, len(permissions))
	for a := range permissions {
		all = append(all, a)
	}
	return all
}

// ScopeOf returns how far the actor's strongest role reaches for an action.
func (a Actor) ScopeOf(action Action) Scope {
	p := permissions[action]
	scope := ScopeNone
	for role, s := range map[Role]Scope{RoleUser: p.user, RoleFaculty: p.faculty, RoleOrgAdmin: p.orgadmin, RoleAdmin: p.admin} {
		if a.Has(role) {
			scope = max(scope, s)
		}
	}
	return scope
}

// Reaches reports whether the actor may do the action to a thing of the given
// owners (any of them) and organisation.
func (a Actor) Reaches(action Action, organisationID int64, owners ...int64) bool {
	switch a.ScopeOf(action) {
	case ScopeAny:
		return true
	case ScopeOrg:
		if organisationID == a.User.OrganisationID {
			return true
		}
		fallthrough
	case ScopeOwn:
		return slices.Contains(owners, a.User.ID)
	case ScopeNone:
	}
	return false
}
