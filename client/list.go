package client

import (
	"context"
	"iter"

	"baadal"
)

// Pages goes through all items of a list, page by page: pass a method such as
// c.VMs. It stops at the first error, which comes with a zero item.
func Pages[T any](ctx context.Context, list func(context.Context, baadal.ListQuery) (baadal.List[T], error), q baadal.ListQuery) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			page, err := list(ctx, q)
			if err != nil {
				var zero T
				yield(zero, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			q.After = page.Next
		}
	}
}
