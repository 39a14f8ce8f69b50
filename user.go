package baadal

import (
	"regexp"
	"slices"
	"time"
)

// Role is one of the specification's four.
type Role string

// The roles. Everyone holds RoleUser; the others are additive.
const (
	RoleUser     Role = "user"
	RoleFaculty  Role = "faculty"
	RoleOrgAdmin Role = "orgadmin"
	RoleAdmin    Role = "admin"
)

// Roles lists the roles from the least to the most powerful.
func Roles() []Role { return []Role{RoleUser, RoleFaculty, RoleOrgAdmin, RoleAdmin} }

// SystemUser is the id of the pseudo-user that owns what nobody asked for:
// tasks of loops, adopted domains.
const SystemUser int64 = -1

// Organisation groups users; a user belongs to exactly one.
type Organisation struct {
	ID        int64     `json:"id"`
	Name      string    `json:"name"`
	Details   string    `json:"details,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

// User is a person.
type User struct {
	ID             int64             `json:"id"`
	Username       string            `json:"username"`
	Name           string            `json:"name,omitempty"`
	Email          string            `json:"email,omitempty"`
	Generation     int64             `json:"generation"`
	OrganisationID int64             `json:"organisation_id"`
	Organisation   string            `json:"organisation"`
	Roles          []Role            `json:"roles" enum:"user,faculty,orgadmin,admin"`
	Blocked        bool              `json:"blocked"`
	MustChange     bool              `json:"must_change_password" doc:"The password was given once and must be changed at the next sign-in."`
	SSHKeys        []string          `json:"ssh_keys,omitempty"`
	VMs            int               `json:"vms"`
	CreatedAt      time.Time         `json:"created_at"`
	UpdatedAt      time.Time         `json:"updated_at"`
	Actions        map[string]Access `json:"actions,omitempty"`
}

// UserCreate is the wish for a new user.
type UserCreate struct {
	Username     string   `json:"username" minLength:"1" maxLength:"32"`
	Name         string   `json:"name,omitempty" maxLength:"128"`
	Email        string   `json:"email,omitempty" maxLength:"254"`
	Organisation string   `json:"organisation,omitempty" doc:"Name or id; the caller's if empty. Made if an admin names a new one."`
	Roles        []Role   `json:"roles,omitempty" enum:"user,faculty,orgadmin,admin"`
	Password     string   `json:"password,omitempty" maxLength:"256" doc:"A one-time password is made if empty."`
	SSHKeys      []string `json:"ssh_keys,omitempty" maxItems:"20"`
}

// UserUpdate changes what is not nil.
type UserUpdate struct {
	Name     *string   `json:"name,omitempty" maxLength:"128"`
	Email    *string   `json:"email,omitempty" maxLength:"254"`
	Roles    *[]Role   `json:"roles,omitempty" enum:"user,faculty,orgadmin,admin"`
	Blocked  *bool     `json:"blocked,omitempty"`
	SSHKeys  *[]string `json:"ssh_keys,omitempty" maxItems:"20"`
	Password *string   `json:"password,omitempty" minLength:"10" maxLength:"256"`
}

var usernameRE = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)

// CheckUsername refuses user names that are not 1 to 32 lower-case letters,
// digits, dots, dashes and underscores.
func CheckUsername(s string) error {
	if !usernameRE.MatchString(s) {
		return Errorf(Invalid, "user name %q is not usable", s).WithField("username").
			WithDetail("use 1 to 32 lower-case letters, digits, dots, dashes or underscores")
	}
	return nil
}

// MinPassword is the least length of a password, characters.
const MinPassword = 10

// NormaliseRoles sorts roles, drops doubles, and adds RoleUser, which everyone
// holds. An unknown role is an error.
func NormaliseRoles(in []Role) ([]Role, error) {
	out := []Role{RoleUser}
	for _, known := range Roles()[1:] {
		if slices.Contains(in, known) {
			out = append(out, known)
		}
	}
	for _, r := range in {
		if !slices.Contains(Roles(), r) {
			return nil, Errorf(Invalid, "there is no role %q", r).WithField("roles")
		}
	}
	return out, nil
}

// Token is a revocable credential for programs. The secret itself is shown once
// and only its hash is kept.
type Token struct {
	ID        int64      `json:"id"`
	UserID    int64      `json:"user_id"`
	Name      string     `json:"name"`
	CreatedAt time.Time  `json:"created_at"`
	LastUsed  *time.Time `json:"last_used,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// Actor is who asks: the signed-in user of a request, or the system.
type Actor struct {
	User  User
	Token int64 // the token used; 0 for a session
}

// Has reports whether the actor holds a role.
func (a Actor) Has(r Role) bool { return slices.Contains(a.User.Roles, r) }

// System is the actor of loops.
func System() Actor {
	return Actor{User: User{ID: SystemUser, Username: "system", Name: "System User", Roles: Roles()}}
}
