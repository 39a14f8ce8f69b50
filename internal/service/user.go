package service

import (
	"context"
	"slices"
	"strings"

	"baadal"
	"baadal/internal/auth"
	"baadal/internal/store"
)

func userSubject(u baadal.User) baadal.Subject {
	return baadal.Subject{Kind: "user", ID: u.ID, Name: u.Username}
}

// Users lists the users that the actor may see.
func (s *Service) Users(ctx context.Context, a baadal.Actor, q baadal.ListQuery) (list baadal.List[baadal.User], err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) { list, err = tx.Users(q, a.Sees(baadal.ActionUserRead)); return err })
	for i := range list.Items {
		userActions(a, &list.Items[i])
	}
	return list, err
}

func userActions(a baadal.Actor, u *baadal.User) {
	u.Actions = map[string]baadal.Access{"update": access(reach(a, baadal.ActionUserUpdate, u.OrganisationID, u.ID))}
}

// user finds a user that the actor may see.
func findUser(tx *store.Tx, a baadal.Actor, ref string) (baadal.User, error) {
	u, err := tx.UserByRef(ref)
	if err != nil {
		return u, err
	}
	if !a.Reaches(baadal.ActionUserRead, u.OrganisationID, u.ID) {
		return baadal.User{}, baadal.Errorf(baadal.NotFound, "there is no user %q", ref)
	}
	return u, nil
}

// User returns one user by id or user name.
func (s *Service) User(ctx context.Context, a baadal.Actor, ref string) (u baadal.User, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) { u, err = findUser(tx, a, ref); return err })
	userActions(a, &u)
	return u, err
}

// Organisations lists all organisations.
func (s *Service) Organisations(ctx context.Context, _ baadal.Actor) (all []baadal.Organisation, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) { all, err = tx.Organisations(); return err })
	return all, err
}

// CreateUser makes a user. Without a password it makes a one-time password,
// returns it, and the user must change it at the first sign-in.
func (s *Service) CreateUser(ctx context.Context, a baadal.Actor, in baadal.UserCreate, opt baadal.ChangeOptions) (u baadal.User, oneTime string, err error) {
	if err := may(a, baadal.ActionUserCreate); err != nil {
		return u, "", err
	}
	if err := baadal.CheckUsername(in.Username); err != nil {
		return u, "", err
	}
	roles, err := baadal.NormaliseRoles(in.Roles)
	if err != nil {
		return u, "", err
	}
	for _, k := range in.SSHKeys {
		if err := baadal.CheckSSHKey(k); err != nil {
			return u, "", err
		}
	}
	password := in.Password
	if password == "" {
		password = auth.OneTimePassword()
		oneTime = password
	} else if err := checkPassword(password); err != nil {
		return u, "", err
	}
	hash, err := s.hasher.Hash(ctx, password)
	if err != nil {
		return u, "", err
	}
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		org, err := organisation(tx, a, in.Organisation)
		if err != nil {
			return err
		}
		u = baadal.User{
			Username: in.Username, Name: in.Name, Email: in.Email, OrganisationID: org.ID, Organisation: org.Name,
			Roles: roles, SSHKeys: in.SSHKeys, MustChange: oneTime != "",
		}
		if err := tx.CreateUser(&u, hash); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		return event(tx, a, baadal.Event{Subject: userSubject(u), Version: u.Generation, What: "created", OwnerID: u.ID, OrganisationID: org.ID}, nil)
	})
	if isDryRun(err) {
		u.ID = 0
		return u, "", nil
	}
	userActions(a, &u)
	return u, oneTime, err
}

// organisation finds the organisation a new user belongs to; a new name makes it.
func organisation(tx *store.Tx, a baadal.Actor, ref string) (baadal.Organisation, error) {
	if ref == "" {
		return baadal.Organisation{ID: a.User.OrganisationID, Name: a.User.Organisation}, nil
	}
	org, err := tx.Organisation(ref)
	if baadal.KindOf(err) != baadal.NotFound {
		return org, err
	}
	if err := baadal.CheckName("organisation", ref); err != nil {
		return org, err
	}
	return tx.CreateOrganisation(ref, "")
}

// UpdateUser changes a user. Roles and blocking are for administrators, and the
// last administrator who can sign in keeps both.
func (s *Service) UpdateUser(ctx context.Context, a baadal.Actor, ref string, in baadal.UserUpdate, opt baadal.ChangeOptions) (u baadal.User, err error) {
	hash := ""
	if in.Password != nil {
		if err := checkPassword(*in.Password); err != nil {
			return u, err
		}
		if !a.Has(baadal.RoleAdmin) {
			return u, baadal.Errorf(baadal.Forbidden, "change your own password with the old one").WithNext("Change it", "baadal passwd")
		}
		if hash, err = s.hasher.Hash(ctx, *in.Password); err != nil {
			return u, err
		}
	}
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		// Two administrators who block each other must not both succeed.
		if err := tx.Lock("users"); err != nil {
			return err
		}
		if u, err = findUser(tx, a, ref); err != nil {
			return err
		}
		if err := reach(a, baadal.ActionUserUpdate, u.OrganisationID, u.ID); err != nil {
			return err
		}
		if err := checkGeneration(opt, u.Generation); err != nil {
			return err
		}
		changes, err := applyUserUpdate(a, &u, in)
		if err != nil {
			return err
		}
		if err := tx.UpdateUser(&u); err != nil {
			return err
		}
		if n, err := tx.CountAdmins(); err != nil {
			return err
		} else if n == 0 {
			return baadal.Errorf(baadal.Conflict, "%s is the last administrator who can sign in", u.Username).WithCode("last_admin").
				WithNext("Make another administrator first", "baadal user update NAME --role admin")
		}
		if hash != "" {
			changes["password"] = "set by an administrator"
			if err := tx.SetPassword(u.ID, hash, u.ID != a.User.ID); err != nil {
				return err
			}
		}
		if hash != "" || u.Blocked {
			if err := tx.DeleteSessionsOf(u.ID); err != nil {
				return err
			}
		}
		if opt.DryRun {
			return errDryRun
		}
		return event(tx, a, baadal.Event{Subject: userSubject(u), Version: u.Generation, What: "updated", OwnerID: u.ID, OrganisationID: u.OrganisationID}, changes)
	})
	if isDryRun(err) {
		err = nil
	}
	userActions(a, &u)
	return u, err
}

func applyUserUpdate(a baadal.Actor, u *baadal.User, in baadal.UserUpdate) (map[string]any, error) {
	changes := map[string]any{}
	set := func(field string, before, after any) { changes[field] = map[string]any{"old": before, "new": after} }
	if in.Name != nil {
		set("name", u.Name, *in.Name)
		u.Name = *in.Name
	}
	if in.Email != nil {
		set("email", u.Email, *in.Email)
		u.Email = *in.Email
	}
	if in.SSHKeys != nil {
		for _, k := range *in.SSHKeys {
			if err := baadal.CheckSSHKey(k); err != nil {
				return nil, err
			}
		}
		set("ssh_keys", len(u.SSHKeys), len(*in.SSHKeys))
		u.SSHKeys = slices.Clone(*in.SSHKeys)
	}
	if (in.Roles != nil || in.Blocked != nil) && !a.Has(baadal.RoleAdmin) {
		return nil, forbidden(baadal.ActionUserUpdate)
	}
	if in.Roles != nil {
		roles, err := baadal.NormaliseRoles(*in.Roles)
		if err != nil {
			return nil, err
		}
		set("roles", join(u.Roles), join(roles))
		u.Roles = roles
	}
	if in.Blocked != nil {
		set("blocked", u.Blocked, *in.Blocked)
		u.Blocked = *in.Blocked
	}
	return changes, nil
}

func join(roles []baadal.Role) string {
	var words []string
	for _, r := range roles {
		words = append(words, string(r))
	}
	return strings.Join(words, ",")
}

// Bootstrap makes the first administrator with a one-time password if there is
// none yet. If the only one there is has not set a password yet, it returns that
// name without one; otherwise nothing.
func (s *Service) Bootstrap(ctx context.Context) (username, password string, err error) {
	fresh := auth.OneTimePassword()
	hash, err := s.hasher.Hash(ctx, fresh)
	if err != nil {
		return "", "", err
	}
	const name = "admin"
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		username, password = "", ""
		if err := tx.Lock("bootstrap"); err != nil {
			return err
		}
		if n, err := tx.CountAdmins(); err != nil || n > 0 {
			if u, uerr := tx.UserByName(name); n == 1 && uerr == nil && u.MustChange {
				username = name
			}
			return err
		}
		org, err := tx.Organisation("ADMIN")
		if baadal.KindOf(err) == baadal.NotFound {
			org, err = tx.CreateOrganisation("ADMIN", "Baadal Admin")
		}
		if err != nil {
			return err
		}
		roles, err := baadal.NormaliseRoles([]baadal.Role{baadal.RoleAdmin})
		if err != nil {
			return err
		}
		u := baadal.User{Username: name, Name: "Administrator", OrganisationID: org.ID, Roles: roles, MustChange: true}
		if err := tx.CreateUser(&u, hash); err != nil {
			return err
		}
		username, password = name, fresh
		return event(tx, baadal.System(), baadal.Event{Subject: userSubject(u), Version: u.Generation, What: "created", OwnerID: u.ID, OrganisationID: org.ID}, nil)
	})
	return username, password, err
}

// Rescue gives a user a new one-time password and lets a blocked one in again.
// It asks for no right: only who can read the database itself may call it.
func (s *Service) Rescue(ctx context.Context, username string) (password string, err error) {
	password = auth.OneTimePassword()
	hash, err := s.hasher.Hash(ctx, password)
	if err != nil {
		return "", err
	}
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		u, err := tx.UserByName(username)
		if err != nil {
			return err
		}
		if u.Blocked {
			u.Blocked = false
			if err := tx.UpdateUser(&u); err != nil {
				return err
			}
		}
		if err := tx.SetPassword(u.ID, hash, true); err != nil {
			return err
		}
		if err := tx.DeleteSessionsOf(u.ID); err != nil {
			return err
		}
		return event(tx, baadal.System(), baadal.Event{Subject: userSubject(u), Version: u.Generation, What: "rescued", OwnerID: u.ID, OrganisationID: u.OrganisationID},
			map[string]any{"password": "set on the server's own machine"})
	})
	return password, err
}
