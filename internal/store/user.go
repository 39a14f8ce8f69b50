package store

import (
	"database/sql"
	"errors"
	"fmt"

	"baadal"
)

const userColumns = `u.id, u.username, u.name, u.email, u.generation, u.organisation_id, o.name, u.roles, u.blocked, u.must_change,
	u.ssh_keys, u.created_at, u.updated_at, (SELECT COUNT(*) FROM vms v WHERE v.owner_id = u.id AND v.state <> 5)`

const userJoins = ` LEFT JOIN organisations o ON o.id = u.organisation_id`

func scanUser(r row) (u baadal.User, err error) {
	var roles, keys string
	var created, updated int64
	err = r.Scan(&u.ID, &u.Username, &u.Name, &u.Email, &u.Generation, &u.OrganisationID, &u.Organisation, &roles, &u.Blocked, &u.MustChange,
		&keys, &created, &updated, &u.VMs)
	if err != nil {
		return u, err
	}
	u.CreatedAt, u.UpdatedAt = timeOf(created), timeOf(updated)
	if u.Roles, err = decode[baadal.Role](roles); err != nil {
		return u, err
	}
	u.SSHKeys, err = decode[string](keys)
	return u, err
}

func scanOrganisation(r row) (o baadal.Organisation, err error) {
	var created int64
	err = r.Scan(&o.ID, &o.Name, &o.Details, &created)
	o.CreatedAt = timeOf(created)
	return o, err
}

// CreateOrganisation stores a new organisation. A name that is taken is a Conflict.
func (tx *Tx) CreateOrganisation(name, details string) (baadal.Organisation, error) {
	o := baadal.Organisation{Name: name, Details: details, CreatedAt: tx.at}
	var err error
	o.ID, err = tx.insert(`INSERT INTO organisations (name, details, created_at) VALUES ($1, $2, $3) RETURNING id`, name, details, tx.now())
	if violated(err) != "" {
		return o, exists("organisation", "there is an organisation %q already", name)
	}
	if err != nil {
		return o, fmt.Errorf("create organisation: %w", err)
	}
	return o, nil
}

// Organisation finds an organisation by id or name.
func (tx *Tx) Organisation(ref string) (baadal.Organisation, error) {
	o, err := scanOrganisation(tx.queryRow(`SELECT id, name, details, created_at FROM organisations WHERE id = $1 OR name = $2
		ORDER BY CASE WHEN id = $3 THEN 0 ELSE 1 END LIMIT 1`, refID(ref), ref, refID(ref)))
	if err != nil {
		return o, notFound(err, "organisation", ref)
	}
	return o, nil
}

// Organisations returns all organisations by name.
func (tx *Tx) Organisations() ([]baadal.Organisation, error) {
	all, err := collect(tx, scanOrganisation, `SELECT id, name, details, created_at FROM organisations ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("read organisations: %w", err)
	}
	return all, nil
}

// CreateUser stores a new user and fills in id, generation and times. A user
// name that is taken is a Conflict.
func (tx *Tx) CreateUser(u *baadal.User, passwordHash string) error {
	u.Generation, u.CreatedAt, u.UpdatedAt = 1, tx.at, tx.at
	var err error
	u.ID, err = tx.insert(`INSERT INTO users (username, name, email, organisation_id, roles, blocked, must_change, ssh_keys, password_hash,
		created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id`,
		u.Username, u.Name, u.Email, u.OrganisationID, encode(u.Roles), flag(u.Blocked), flag(u.MustChange), encode(u.SSHKeys), passwordHash,
		tx.now(), tx.now())
	switch {
	case violated(err) == "users_username":
		return exists("username", "there is a user %q already", u.Username)
	case dangling(err):
		return missing("organisation", u.OrganisationID)
	case err != nil:
		return fmt.Errorf("create user: %w", err)
	}
	return nil
}

// User returns a user by id.
func (tx *Tx) User(id int64) (baadal.User, error) { return tx.user(id, "u.id = $1", id) }

// UserByName returns a user by user name.
func (tx *Tx) UserByName(name string) (baadal.User, error) {
	return tx.user(name, "u.username = $1", name)
}

// UserByRef returns a user by id or user name.
func (tx *Tx) UserByRef(ref string) (baadal.User, error) {
	if id := refID(ref); id != 0 {
		if u, err := tx.User(id); baadal.KindOf(err) != baadal.NotFound {
			return u, err
		}
	}
	return tx.UserByName(ref)
}

func (tx *Tx) user(ref any, where string, arg any) (baadal.User, error) {
	u, err := scanUser(tx.queryRow(`SELECT `+userColumns+` FROM users u`+userJoins+` WHERE `+where, arg))
	if err != nil {
		return u, notFound(err, "user", ref)
	}
	return u, nil
}

// Users lists users.
func (tx *Tx) Users(q baadal.ListQuery, vis baadal.Visibility) (baadal.List[baadal.User], error) {
	return listRows(tx, listSpec{
		noun: "users", table: "users u", id: "u.id", columns: userColumns, joins: userJoins,
		where: []cond{visible(vis, "u.organisation_id", "u.id")},
		keys: map[string]filterKey{
			"username": equals("u.username"), "org": named("u.organisation_id", "organisations", "name"), "blocked": truth("u.blocked"),
			"role": func(v string) (cond, error) { return is(`u.roles LIKE ?`, `%"`+v+`"%`), nil },
		},
		words: is(`(lower(u.username) LIKE ? ESCAPE '\' OR lower(u.name) LIKE ? ESCAPE '\' OR lower(u.email) LIKE ? ESCAPE '\')`),
		sorts: map[string]sortKey{
			"id": {expr: "u.id", number: true}, "username": {expr: "u.username"}, "name": {expr: "lower(u.name)"},
			"created_at": {expr: "u.created_at", number: true},
		},
		sort:   "username",
		facets: map[string]facet{"organisation": {expr: "u.organisation_id", table: "organisations"}},
	}, q, scanUser)
}

// UpdateUser stores what may change of a user, if his generation is still the
// current one, and raises it in u.
func (tx *Tx) UpdateUser(u *baadal.User) error {
	n, err := tx.affected(`UPDATE users SET name = $1, email = $2, organisation_id = $3, roles = $4, blocked = $5, must_change = $6,
		ssh_keys = $7, updated_at = $8, generation = generation + 1 WHERE id = $9 AND generation = $10`,
		u.Name, u.Email, u.OrganisationID, encode(u.Roles), flag(u.Blocked), flag(u.MustChange),
		encode(u.SSHKeys), tx.now(), u.ID, u.Generation)
	if err != nil {
		return fmt.Errorf("update user: %w", err)
	}
	if n == 0 {
		return tx.stale("users", "user", u.ID, u.Generation)
	}
	u.Generation, u.UpdatedAt = u.Generation+1, tx.at
	return nil
}

// PasswordHash returns the hash of a user's password; empty if he has none.
func (tx *Tx) PasswordHash(userID int64) (string, error) {
	var hash string
	if err := tx.queryRow(`SELECT password_hash FROM users WHERE id = $1`, userID).Scan(&hash); err != nil {
		return "", notFound(err, "user", userID)
	}
	return hash, nil
}

// SetPassword stores the hash of a new password. mustChange makes the user
// choose another at his next sign-in.
func (tx *Tx) SetPassword(userID int64, hash string, mustChange bool) error {
	n, err := tx.affected(`UPDATE users SET password_hash = $1, must_change = $2, updated_at = $3, generation = generation + 1 WHERE id = $4`,
		hash, flag(mustChange), tx.now(), userID)
	if err != nil {
		return fmt.Errorf("set password: %w", err)
	}
	if n == 0 {
		return missing("user", userID)
	}
	return nil
}

// CountAdmins returns how many administrators are not blocked. It makes other
// transactions that count them too wait, so that the last one cannot be
// blocked twice at once.
func (tx *Tx) CountAdmins() (int, error) {
	if err := tx.Lock("admins"); err != nil {
		return 0, err
	}
	n, err := tx.count(`SELECT COUNT(*) FROM users WHERE blocked = 0 AND roles LIKE '%"admin"%'`)
	if err != nil {
		return 0, fmt.Errorf("count administrators: %w", err)
	}
	return n, nil
}

// isNoRows reports whether a query found nothing.
func isNoRows(err error) bool { return errors.Is(err, sql.ErrNoRows) }
