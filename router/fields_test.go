package router

import (
	"slices"
	"testing"
)

func TestHeaderFilter(t *testing.T) {
	for _, tt := range []struct {
		name   string
		filter *HeaderFilter
		fields []Field
		want   []Field
	}{
		// The three examples of HTTPHeaderFilter's documentation.
		{"set", &HeaderFilter{Set: []Field{{"my-header", "bar"}}}, []Field{{"my-header", "foo"}}, []Field{{"my-header", "bar"}}},
		{"add", &HeaderFilter{Add: []Field{{"my-header", "bar,baz"}}}, []Field{{"my-header", "foo"}}, []Field{{"my-header", "foo,bar,baz"}}},
		{
			"remove", &HeaderFilter{Remove: []string{"my-header1", "my-header3"}},
			[]Field{{"my-header1", "foo"}, {"my-header2", "bar"}, {"my-header3", "baz"}}, []Field{{"my-header2", "bar"}},
		},
		{"nil filter", nil, []Field{{"a", "1"}}, []Field{{"a", "1"}}},
		{"set what is not there", &HeaderFilter{Set: []Field{{"a", "1"}}}, nil, []Field{{"a", "1"}}},
		{
			"set several lines", &HeaderFilter{Set: []Field{{"A", "x"}}},
			[]Field{{"z", "0"}, {"a", "1"}, {"b", "2"}, {"a", "3"}, {"c", "4"}, {"a", "5"}},
			[]Field{{"z", "0"}, {"A", "x"}, {"b", "2"}, {"c", "4"}},
		},
		{"add what is not there", &HeaderFilter{Add: []Field{{"a", "1"}}}, []Field{{"b", "2"}}, []Field{{"b", "2"}, {"a", "1"}}},
		{"add to an empty value", &HeaderFilter{Add: []Field{{"a", "1"}}}, []Field{{"a", ""}}, []Field{{"a", "1"}}},
		{"add to several lines", &HeaderFilter{Add: []Field{{"A", "3"}}}, []Field{{"a", "1"}, {"a", "2"}}, []Field{{"a", "1"}, {"a", "2,3"}}},
		{"add a cookie", &HeaderFilter{Add: []Field{{"set-cookie", "b=2"}}}, []Field{{"Set-Cookie", "a=1"}}, []Field{{"Set-Cookie", "a=1"}, {"set-cookie", "b=2"}}},
		{"remove in any case", &HeaderFilter{Remove: []string{"X-A"}}, []Field{{"x-a", "1"}, {"b", "2"}, {"X-a", "3"}}, []Field{{"b", "2"}}},
		{
			"set, then add, then remove",
			&HeaderFilter{Set: []Field{{"a", "1"}}, Add: []Field{{"a", "2"}, {"b", "3"}}, Remove: []string{"b"}},
			[]Field{{"b", "0"}}, []Field{{"a", "1,2"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.filter.Apply(slices.Clone(tt.fields)); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestHeaderFilterAllocatesOnlyJoinedValues(t *testing.T) {
	filter := &HeaderFilter{Set: []Field{{"a", "1"}, {"new", "1"}}, Add: []Field{{"newer", "2"}}, Remove: []string{"b", "c"}}
	fields := make([]Field, 0, 8)
	if n := testing.AllocsPerRun(100, func() {
		filter.Apply(append(fields[:0], Field{"a", "0"}, Field{"b", "0"}, Field{"a", "0"}, Field{"d", "0"}))
	}); n != 0 {
		t.Errorf("Apply allocates %v times", n)
	}
}
