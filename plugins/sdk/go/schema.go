package sluicegate

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
)

type object = map[string]any

// schemaOf is the JSON Schema (2020-12) of a configuration's type, as encoding/json would decode it.
func schemaOf[C any]() string {
	text, err := json.Marshal(schema(reflect.TypeFor[C](), nil))
	if err != nil {
		panic("sluicegate: the configuration has no schema: " + err.Error())
	}
	return string(text)
}

var (
	textType = reflect.TypeFor[encoding.TextUnmarshaler]()
	jsonType = reflect.TypeFor[json.Unmarshaler]()
)

// schema describes a type; above are the types that it is part of.
func schema(of reflect.Type, above []reflect.Type) object {
	switch pointer := reflect.PointerTo(of); {
	case pointer.Implements(jsonType):
		return object{} // Whatever it takes.
	case pointer.Implements(textType):
		return object{"type": "string"}
	}
	switch of.Kind() {
	case reflect.Pointer:
		return schema(of.Elem(), above)
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Slice, reflect.Array:
		if of.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		return object{"type": "array", "items": schema(of.Elem(), above)}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": schema(of.Elem(), above)}
	case reflect.Struct:
		return structSchema(of, above)
	default:
		return object{}
	}
}

func structSchema(of reflect.Type, above []reflect.Type) object {
	for _, outer := range above {
		if outer == of {
			return object{"type": "object"} // It contains itself: one level is described.
		}
	}
	properties, required := object{}, []string{}
	for _, field := range reflect.VisibleFields(of) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.IsExported() || name == "-" || (field.Anonymous && name == "") {
			continue
		}
		if name == "" {
			name = field.Name
		}
		property := schema(field.Type, append(above, of))
		if doc := field.Tag.Get("doc"); doc != "" {
			property["description"] = doc
		}
		properties[name] = property
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
			required = append(required, name)
		}
	}
	described := object{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		described["required"] = required
	}
	return described
}
