package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Inputs that are wrong say where.
func TestWrongInputsSayWhere(t *testing.T) {
	text := func(edit func(dict)) string {
		var document dict
		if err := json.Unmarshal(newDocument().add("pods", pod("p", 1, nil)).json(t), &document); err != nil {
			t.Fatal(err)
		}
		edit(document)
		text, _ := json.Marshal(document)
		return string(text)
	}
	first := func(d dict, keys ...string) dict {
		at := any(d)
		for _, key := range keys {
			at = at.(dict)[key]
		}
		return at.([]any)[0].(dict)
	}
	kind := func(d dict) dict { return first(d, "instanceTypes", "default") }
	for _, test := range []struct{ text, want string }{
		{"", "unexpected end of JSON input"},
		{"{\n  \"format\": 1}", "line 2, column 1"},
		{"{\n\n nonsense", "line 3, column"},
		{text(func(d dict) { d["format"] = "stowage-peer-input/2" }), `format: "stowage-peer-input/2" is unknown`},
		{text(func(d dict) { d["task"] = "dance" }), `task: "dance" is unknown`},
		{text(func(d dict) { d["secondsMax"] = 0 }), "secondsMax: 0 is not"},
		{text(func(d dict) { d["threads"] = 0 }), "threads: 0 is less than 1"},
		{text(func(d dict) { first(d, "objects", "pods")["spec"] = "x" }), "objects.pods[0]"},
		{text(func(d dict) { first(d, "objects", "pods")["metadata"] = dict{} }), "objects.pods[0]: metadata.name"},
		{text(func(d dict) {
			objects := d["objects"].(dict)
			objects["pods"] = append(objects["pods"].([]any), first(d, "objects", "pods"))
		}), `objects.pods[1]: "default/p" is objects.pods[0] already`},
		{text(func(d dict) {
			delete(first(d, "objects", "nodePools")["spec"].(dict)["template"].(dict)["spec"].(dict), "nodeClassRef")
		}), `objects.nodePools[0] "default": spec.template.spec.nodeClassRef`},
		{text(func(d dict) { kind(d)["allocatable"].(dict)["cpu"] = 99999 }),
			`instanceTypes.default[0] "small": allocatable cpu is 99999`},
		{text(func(d dict) { kind(d)["allocatable"].(dict)["gpu"] = 1 }), "allocatable gpu is 1"},
		{text(func(d dict) { first(kind(d), "offerings")["capacityType"] = "reserved" }), `offerings[0]: capacity type "reserved"`},
		{text(func(d dict) { first(kind(d), "offerings")["price"] = 0 }), "offerings[0]: price 0"},
	} {
		_, err := readInput(strings.NewReader(test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.60q: got %v, want %q", test.text, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("not one line: %q", err)
		}
	}
}

// The documents in testdata go through the whole program, from bytes to bytes, and give what is written beside them.
func TestDocuments(t *testing.T) {
	files, err := filepath.Glob("testdata/*.input.json")
	if err != nil || len(files) < 3 {
		t.Fatalf("testdata: %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := run(bytes.NewReader(text), &out, ""); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		got := map[string]any{}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		// Times differ from run to run; everything else an answer is compared by does not.
		for _, key := range []string{"seconds", "details"} {
			if got[key] == nil {
				t.Errorf("%s: no %s", file, key)
			}
			delete(got, key)
		}
		name := strings.Replace(file, ".input.", ".answer.", 1)
		pretty, _ := json.MarshalIndent(got, "", "  ")
		want, err := os.ReadFile(name)
		if os.Getenv("UPDATE") != "" {
			want, err = append(pretty, '\n'), os.WriteFile(name, append(pretty, '\n'), 0o644)
		}
		if err != nil || strings.TrimSpace(string(want)) != string(pretty) {
			t.Errorf("%s: %v: got\n%s", name, err, pretty)
		}
	}
}
