package fleet

import (
	"encoding/binary"
	"errors"

	"gatehouse/authn"
)

// recordSize is the length of a revocation in the store: key, Before and Until.
const recordSize = 16 + 8 + 8

// A record is a revocation as the store has it.
type record [recordSize]byte

var errRecord = errors.New("fleet: not a revocation")

func newRecord(r authn.Revocation) (b record) {
	copy(b[:16], r.Key[:])
	binary.BigEndian.PutUint64(b[16:], uint64(r.Before))
	binary.BigEndian.PutUint64(b[24:], uint64(r.Until))
	return b
}

func (b record) revocation() authn.Revocation {
	return authn.Revocation{
		Key:    authn.RevocationKey(b[:16]),
		Before: int64(binary.BigEndian.Uint64(b[16:])),
		Until:  int64(binary.BigEndian.Uint64(b[24:])),
	}
}

// parseRecord reads what came from the store, which others can write to.
func parseRecord(s string) (record, error) {
	if len(s) != recordSize {
		return record{}, errRecord
	}
	b := record([]byte(s))
	if r := b.revocation(); r.Before <= 0 || r.Until <= 0 {
		return record{}, errRecord
	}
	return b, nil
}

// A page is one answer to a poll.
type page struct {
	epoch   string
	last    int64 // the highest number in the store
	records []record
	numbers []int64
	damaged int
}

// parsePage reads epoch, the highest number, and records with their numbers.
func parsePage(answer []any) (page, error) {
	if len(answer) != 3 {
		return page{}, errAnswer
	}
	epoch, ok1 := answer[0].(string)
	last, ok2 := answer[1].(int64)
	list, ok3 := answer[2].([]any)
	if !ok1 || !ok2 || !ok3 || epoch == "" || last < 0 || len(list)%2 != 0 || len(list) > 2*pageSize {
		return page{}, errAnswer
	}
	p := page{epoch: epoch, last: last}
	for i := 0; i < len(list); i += 2 {
		member, _ := list[i].(string)
		text, _ := list[i+1].(string)
		number, err := parseNumber(text)
		if err != nil {
			return page{}, err
		}
		b, err := parseRecord(member)
		if err != nil {
			p.damaged++
		}
		p.records, p.numbers = append(p.records, b), append(p.numbers, number)
	}
	return p, nil
}
