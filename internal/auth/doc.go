// Package auth holds the arithmetic of signing in: password hashes, random
// secrets, and the limit on guessing. It stores nothing, knows no users and no
// HTTP; whoever calls it keeps what it returns.
package auth
