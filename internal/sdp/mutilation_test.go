package sdp

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sightline/internal/fault"
)

// mutilate changes an offer line by line, so that most of what comes out still parses:
// lines are dropped, doubled, moved, replaced by another offer's, or have a piece changed.
func mutilate(random *rand.Rand, text string, pool []string) string {
	all := strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n")
	pieces := []string{"0", "1", "96", "97", "111", "255", "65536", "a", "video", "*", "~", ";", " ", "/", "-1", "sendonly", "recvonly", "rtx", ""}
	for range 1 + random.IntN(6) {
		i := 4 + random.IntN(len(all)-4)
		switch random.IntN(6) {
		case 0:
			all = slices.Delete(all, i, i+1)
		case 1:
			all = slices.Insert(all, i, all[i])
		case 2:
			j := 4 + random.IntN(len(all)-4)
			all[i], all[j] = all[j], all[i]
		case 3:
			all = slices.Insert(all, i, pool[random.IntN(len(pool))])
		case 4:
			all[i] = pool[random.IntN(len(pool))]
		default:
			fields := strings.Split(all[i], " ")
			j := random.IntN(len(fields))
			head, _, ok := strings.Cut(fields[j], ":")
			fields[j] = pieces[random.IntN(len(pieces))]
			if j == 0 && ok {
				fields[0] = head + ":" + fields[0]
			}
			all[i] = strings.Join(fields, " ")
		}
		if len(all) < 6 {
			break
		}
	}
	return strings.Join(all, "\r\n") + "\r\n"
}

// TestMutilatedOffersGetAnAnswerOfTheRightFormOrAFault: no panic, no answer that says more
// than the offer, no error without a kind.
func TestMutilatedOffersGetAnAnswerOfTheRightFormOrAFault(t *testing.T) {
	random := rand.New(rand.NewPCG(2026, 11))
	all := samples(t)
	var pool []string
	for _, s := range all {
		pool = append(pool, strings.Split(string(s.body), "\r\n")[4:]...)
	}
	pool = slices.DeleteFunc(pool, func(l string) bool { return l == "" })
	answered, refused := 0, 0
	for round := range 100 {
		for _, s := range all {
			text := mutilate(random, string(s.body), pool)
			o, err := Parse([]byte(text))
			var a *Answer
			if err == nil {
				a, err = o.Answer(s.request())
			}
			switch fault.KindOf(err) {
			case "":
				if err != nil {
					t.Fatalf("got %v, want a fault, for\n%s", err, text)
				}
				answered++
				checkForm(t, o, a, s.request())
				checkLimits(t, a, s.request())
			case fault.BadRequest, fault.Unprocessable:
				refused++
			default:
				t.Errorf("got %v", err)
			}
			if t.Failed() {
				t.Fatalf("round %d, %s:\n%s", round, s.name, text)
			}
		}
	}
	if answered < 1000 || refused < 200 {
		t.Errorf("got %d answered and %d refused: the mutilation is too hard or too soft", answered, refused)
	}
}
