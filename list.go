package baadal

// ListQuery asks for one page of a list.
type ListQuery struct {
	Limit  int    // 1 to 1000; 100 if 0
	After  string // cursor from the previous page's Next
	Filter string // words and key:value pairs, e.g. "state:off host:h07 web"
	Sort   string // a key of the list, with a leading - for descending
}

// List is one page. Total and Facets count everything that the filter matches
// and the caller may see, not just the page.
type List[T any] struct {
	Items  []T                       `json:"items"`
	Total  int                       `json:"total"`
	Next   string                    `json:"next,omitempty" doc:"Cursor of the next page; empty on the last."`
	Facets map[string]map[string]int `json:"facets,omitempty" doc:"For each facet its values and how many match."`
}

// Visibility narrows a list to what an actor may see.
type Visibility struct {
	Scope          Scope
	UserID         int64
	OrganisationID int64
}

// Sees returns what the actor may see with the given action.
func (a Actor) Sees(action Action) Visibility {
	return Visibility{Scope: a.ScopeOf(action), UserID: a.User.ID, OrganisationID: a.User.OrganisationID}
}
