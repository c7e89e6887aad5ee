package storage

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

var errArrayLength = errors.New("a JSON array of another length than its query has")

// scanArray reads a column that is a JSON array into one place for each element. What
// is NULL leaves its place as it is, and so does a whole column that is NULL. Bytes
// that are no text are mended.
func scanArray(value any, into ...any) error {
	if value == nil {
		return nil
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(textOf(value)), jsontext.AllowInvalidUTF8(true))
	if _, err := d.ReadToken(); err != nil { // [
		return err
	}
	for i, place := range into {
		element, err := d.ReadToken()
		if err == nil {
			err = fill(place, element)
		}
		if err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
	}
	if end, err := d.ReadToken(); err != nil || end.Kind() != jsontext.KindEndArray {
		return errors.Join(errArrayLength, err)
	}
	return nil
}

func fill(place any, element jsontext.Token) (err error) {
	kind := element.Kind()
	switch place := place.(type) {
	case *int64:
		if kind == jsontext.KindNumber {
			*place, err = element.Int()
			return err
		}
	case *sql.NullInt64:
		if kind == jsontext.KindNumber {
			place.Int64, err = element.Int()
			place.Valid = err == nil
			return err
		}
	case *string:
		if kind == jsontext.KindString {
			*place = element.String()
			return nil
		}
	case *sql.NullString:
		if kind == jsontext.KindString {
			place.String, place.Valid = element.String(), true
			return nil
		}
	case sql.Scanner:
		if kind == jsontext.KindString {
			return place.Scan(element.String())
		}
	}
	if kind == jsontext.KindNull {
		return nil
	}
	return fmt.Errorf("no place for the JSON kind %v in %T", kind, place)
}
