package broker_test

import "testing"

func TestZZ(t *testing.T) {
	sp := theftState{row: searchRow{g: 2, p: 1, advanced: 4, issued: 4}, owner: searchPair{g: 2}, thief: searchPair{g: 2}}
	s := theftSearch{rule: decideAt(3), window: 3, times: 2}
	t.Log(s.run([]theftState{sp}))
	for n := range s.seen {
		t.Logf("%+v", n)
	}
	t.Logf("%+v", s.alive)
}
