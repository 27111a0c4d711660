package tuning

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"gatehouse/waf"
)

const line = `{"time":"2026-11-28T13:44:08.123456789+01:00","level":"INFO","msg":"request","id":"88ca9e69e24f77711e7c9553c5170c6f",` +
	`"route":"public","client":"127.0.0.1","method":"GET","host":"localhost","path":"/","status":403,"guards":{"limit":"pass","waf":"block"},` +
	`"waf":{"mode":"block","verdict":"block","score":5,"threshold":5,"paranoia":1,"cause":949110,"rules":[942100],` +
	`"matches":[{"rule":942100,"message":"SQL","variable":"ARGS_GET","key":"id","score":5}]},"denied":"waf: refused by rule 949110"}`

func TestReadPassesOverWhatIsNoEvent(t *testing.T) {
	t.Parallel()
	text := `out","status":200}` + "\n" + // the log begins in the middle of a line
		`{"time":"2026-11-28T13:44:08Z","level":"INFO","msg":"ready"}` + "\n" +
		line + "\r\n\n" +
		strings.Repeat("x", 3*maxLine) + "\n" +
		`{"msg":"request"}` + "\n" +
		strings.Replace(line, `"score":5,"thr`, `"score":-5,"thr`, 1) + "\n" +
		strings.Replace(line, `"verdict":"block"`, `"verdict":"odd"`, 1) + "\n" +
		strings.Replace(line, `"matches":[`, `"matches":[`+strings.Repeat(`{"rule":1},`, 2*maxRecorded), 1) + "\n" +
		strings.Replace(line, "88ca", "98ca", 1) // without an end
	var ids []string
	s, err := Read(iotest.OneByteReader(strings.NewReader(text)), func(rec *Record) { ids = append(ids, rec.ID[:4]) })
	if err != nil || strings.Join(ids, " ") != "88ca 98ca" {
		t.Errorf("got %v, %v, want both requests", ids, err)
	}
	if s.Lines != 9 || s.Requests != 2 || s.Others != 1 || s.Damaged != 6 || s.First.IsZero() {
		t.Errorf("got %+v, want 9 lines: 2 requests, 1 other, 6 damaged", s)
	}
	if _, err := Read(io.MultiReader(strings.NewReader(line), iotest.ErrReader(errors.New("disk"))), func(*Record) {}); err == nil {
		t.Error("a disk that fails: got no error")
	}
}

// What stands as an exclusion in a line is not believed: it is to be pasted into a configuration.
func TestExclusionsAreWorkedOutHere(t *testing.T) {
	t.Parallel()
	rec, err := Parse([]byte(strings.Replace(line, `"key":"id"`, `"key":"id","exclude":{"rule":1,"target":"x\"}, evil: {"}`, 1)))
	if err != nil || rec.WAF.Matches[0].Exclude != nil {
		t.Errorf("got %+v, %v", rec, err)
	}
}

// FuzzParse: events come from files that others write. Whatever they say is judged without a panic, within bounds, and
// never makes an exclusion that the configuration would refuse.
func FuzzParse(f *testing.F) {
	f.Add([]byte(line))
	f.Add([]byte(`{"msg":"request","id":"x","waf":{"verdict":"count","score":1048576,"matches":[{"rule":200002,"score":1048576},{"rule":1,"variable":"XML","key":"a*"}]}}`))
	f.Add([]byte(`{"msg":"request","id":"\u001b[31m","waf":null,"time":"x"}`))
	f.Add([]byte(`{"msg":"ready"}`))
	plan, err := NewPlan("r", waf.Config{Paranoia: 2})
	if err != nil {
		f.Fatal(err)
	}
	replay := &Replay{}
	if _, err := replay.Judge(&Record{ID: "x", WAF: &WAF{Verdict: "pass", Paranoia: 1}}, plan); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := Parse(data)
		if err != nil || rec == nil {
			return
		}
		var tune Tuning
		tune.Add(rec)
		for _, g := range tune.Groups() {
			if strings.ContainsAny(g.Exclude.Target, " \t\n\"'{},#\x1b") {
				t.Errorf("got the target %q", g.Exclude.Target)
			}
			if g.LetsThrough+g.Unknown > g.Blocked+g.Counted || g.Suspects > g.LetsThrough {
				t.Errorf("got %+v", g)
			}
		}
		rec.Needs()
		s := NewSamples(1, 1<<20)
		s.Add(*rec)
		if again, err := Parse(s.Get(rec.ID)); s.Get(rec.ID) != nil && (err != nil || again == nil) {
			t.Errorf("a sample is no event: %v\n%s", err, s.Get(rec.ID))
		}
		c, err := replay.Judge(rec, plan)
		if err != nil || c.Low > c.High || c.Low < 0 {
			t.Errorf("got %+v, %v", c, err)
		}
		if x := rec.Decider(); x == ByWAF && rec.Denied == "" {
			t.Errorf("got %q of a request that nobody refused", x)
		}
	})
}
