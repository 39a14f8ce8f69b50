package store

import "fmt"

// PutDocument keeps a small document, as the last audit, under a name. It
// replaces an older one.
func (tx *Tx) PutDocument(name string, body []byte) error {
	_, err := tx.exec(`INSERT INTO documents (name, body, updated_at) VALUES ($1, $2, $3)
		ON CONFLICT (name) DO UPDATE SET body = excluded.body, updated_at = excluded.updated_at`, name, string(body), tx.now())
	if err != nil {
		return fmt.Errorf("put document: %w", err)
	}
	return nil
}

// Document returns what PutDocument kept; NotFound if there is nothing yet.
func (tx *Tx) Document(name string) ([]byte, error) {
	var body string
	if err := tx.queryRow(`SELECT body FROM documents WHERE name = $1`, name).Scan(&body); err != nil {
		return nil, notFound(err, "document", name)
	}
	return []byte(body), nil
}
