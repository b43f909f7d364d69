package cluster

import (
	"context"
	"log/slog"
)

// Until the directory of its own branch is merged: this node alone.
type directory struct{ self Member }

func newDirectory(config Config, self Member, local Local, b bus, log *slog.Logger) *directory {
	return &directory{self}
}
func (d *directory) run(ctx context.Context) error                          { <-ctx.Done(); return nil }
func (d *directory) members() []Member                                      { return []Member{d.self} }
func (d *directory) member(id string) (Member, bool)                        { return d.self, id == d.self.ID }
func (d *directory) owner(room string) (Member, bool)                       { return Member{}, false }
func (d *directory) place(ctx context.Context, room string) (Member, error) { return d.self, nil }
func (d *directory) hold(room string) (release func())                      { return func() {} }
func (d *directory) entries() []Entry                                       { return nil }
func (d *directory) watch() (<-chan struct{}, func())                       { return nil, func() {} }
func (d *directory) drain(ctx context.Context) error                        { return nil }
func (d *directory) leave()                                                 {}
