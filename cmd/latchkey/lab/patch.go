package lab

import (
	"encoding/json"
	"fmt"
	"maps"

	"go.yaml.in/yaml/v3"
)

// Patch is a lie in what is JSON: members that win over the true ones, as a JSON
// Merge Patch has it (RFC 7396).
type Patch map[string]any

// UnmarshalYAML implements yaml.Unmarshaler. YAML can say more than JSON, and a lie
// that cannot be told would pass for one that was.
func (p *Patch) UnmarshalYAML(n *yaml.Node) error {
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
// of a list: a key set's keys have no other name.
func merge(truth, lie any) any {
	members, ok := lie.(map[string]any)
	if !ok {
		return lie
	}
	if list, ok := truth.([]any); ok {
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
