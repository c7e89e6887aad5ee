package lab

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Patch is a lie in what is JSON: members that win over the true ones, as a JSON
// Merge Patch has it (RFC 7396).
type Patch map[string]any

// UnmarshalYAML implements yaml.Unmarshaler. YAML can say more than JSON, and a lie
// that cannot be told would pass for one that was.
func (p *Patch) UnmarshalYAML(n *yaml.Node) error {
	if err := asJSON(n, map[*yaml.Node]bool{}); err != nil {
		return err
	}
	var members map[string]any
	if err := n.Decode(&members); err != nil {
		return err
	}
	if _, err := json.Marshal(members); err != nil {
		return fmt.Errorf("line %d: is no JSON: names must be text, and numbers finite", n.Line)
	}
	*p = members
	return nil
}

// jsonTags are the types of JSON, as YAML names them, and its sign that copies members.
var jsonTags = []string{"!!map", "!!seq", "!!str", "!!int", "!!float", "!!bool", "!!null", "!!merge"}

// asJSON makes text of dates, which YAML sees in what JSON has as text, and refuses
// other types that JSON has not. A node that was seen may be in itself.
func asJSON(n *yaml.Node, seen map[*yaml.Node]bool) error {
	if seen[n] {
		return nil
	}
	seen[n] = true
	switch tag := n.ShortTag(); {
	case n.Kind == yaml.AliasNode:
		return asJSON(n.Alias, seen)
	case tag == "!!timestamp" && n.Style&yaml.TaggedStyle == 0:
		n.Tag = "!!str"
	case !slices.Contains(jsonTags, tag):
		return fmt.Errorf("line %d: is no JSON: there is no %s in it", n.Line, tag)
	}
	for _, member := range n.Content {
		if err := asJSON(member, seen); err != nil {
			return err
		}
	}
	return nil
}

// edit puts the lie into an answer, which may be of any types that are JSON.
func (p Patch) edit(answer map[string]any) {
	truth := map[string]any{}
	raw, err := json.Marshal(answer)
	if err == nil {
		err = json.Unmarshal(raw, &truth)
	}
	if err != nil {
		panic(err) // the provider is honest until then
	}
	clear(answer)
	patched, _ := merge(truth, map[string]any(p)).(map[string]any)
	maps.Copy(answer, patched)
}

// merge is MergePatch of RFC 7396 section 2, but that an object goes into each member
// of a list of objects: a key set's keys have no other name.
func merge(truth, lie any) any {
	members, ok := lie.(map[string]any)
	if !ok {
		return lie
	}
	if list, ok := truth.([]any); ok && len(list) > 0 && !slices.ContainsFunc(list, isNoObject) {
		for i := range list {
			list[i] = merge(list[i], lie)
		}
		return list
	}
	object, ok := truth.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	for name, member := range members {
		if member == nil {
			delete(object, name)
		} else {
			object[name] = merge(object[name], member)
		}
	}
	return object
}

func isNoObject(member any) bool {
	_, object := member.(map[string]any)
	return !object
}
