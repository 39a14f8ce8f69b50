-- Tickets for consoles: used once, and soon.
CREATE TABLE console_tickets (
  hash TEXT PRIMARY KEY,                -- of the ticket's secret
  vm_id BIGINT NOT NULL REFERENCES vms(id),
  user_id BIGINT NOT NULL REFERENCES users(id),
  kind TEXT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX console_tickets_expires ON console_tickets (expires_at);

-- A serial line takes one reader: the controller that reads it, for how long.
CREATE TABLE console_lines (
  vm_id BIGINT PRIMARY KEY REFERENCES vms(id),
  holder TEXT NOT NULL,
  held_until BIGINT NOT NULL
);
