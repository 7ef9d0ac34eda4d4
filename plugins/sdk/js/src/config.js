// A plugin's configuration: the properties that it has, as JSON Schema describes them, and values of them. A property with a
// default may be left out, any other is required, and what is not named is refused.

/** The JSON Schema (2020-12) of an object with these properties. */
export function schemaOf(properties) {
  const required = Object.keys(properties).filter((name) => !("default" in properties[name]));
  return {
    type: "object",
    additionalProperties: false,
    properties: Object.fromEntries(Object.entries(properties).map(([name, property]) => [name, complete(property)])),
    ...(required.length > 0 && { required }),
  };
}

function complete(property) {
  if (property.properties) return { ...property, ...schemaOf(property.properties) };
  if (property.items) return { ...property, items: complete(property.items) };
  return property;
}

/** The configuration with its defaults; the runtime has seen to it that it fits the schema. */
export function withDefaults(properties, config) {
  const filled = Object.entries(properties).map(([name, property]) => [
    name,
    name in config ? fill(property, config[name]) : property.default,
  ]);
  return Object.fromEntries(filled);
}

function fill(property, value) {
  if (property.properties) return withDefaults(property.properties, value);
  if (property.items) return value.map((item) => fill(property.items, item));
  return value;
}
