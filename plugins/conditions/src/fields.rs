use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sluicegate_plugin::Error;

/// Paths into JSON, such as `client.name` or `legs.*.price`: names of members, and `*` for every element of a list.
///
/// All paths are looked up in one pass over the text. Nothing is built and nothing is changed: what is found is a piece
/// of the text itself, so order, duplicates, spaces and the digits of numbers are the writer's own.
#[derive(Debug, Default)]
pub struct Fields {
    /// Whether a path ends here.
    end: bool,
    members: Vec<(String, Fields)>,
    elements: Option<Box<Fields>>,
}

/// A value in which fields were looked for is not JSON.
#[derive(Debug)]
pub struct NotJson(serde_json::Error);

impl fmt::Display for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the value is not JSON: {}", self.0)
    }
}

impl Fields {
    /// The fields at these dotted paths.
    ///
    /// # Errors
    /// For a path with an empty name in it.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut root = Fields::default();
        for path in paths {
            let mut node = &mut root;
            for name in path.split('.') {
                if name.is_empty() {
                    return Err(Error::new(format_args!("`{path}` is not a path: write names with dots between them")));
                }
                node = node.child(name);
            }
            node.end = true;
        }
        Ok(root)
    }

    fn child(&mut self, name: &str) -> &mut Fields {
        if name == "*" {
            return self.elements.get_or_insert_default();
        }
        let known = self.members.iter().position(|(member, _)| member == name);
        let index = known.unwrap_or_else(|| {
            self.members.push((name.to_owned(), Fields::default()));
            self.members.len() - 1
        });
        &mut self.members[index].1
    }

    /// Calls `found` with the text of each field, in the order in which they stand in `json`. A field within a field
    /// that was found is not found again.
    ///
    /// # Errors
    /// If `json` is not JSON as a whole; `found` may have been called by then.
    pub fn visit<'a>(&self, json: &'a [u8], mut found: impl FnMut(&'a str)) -> Result<(), NotJson> {
        let mut text = serde_json::Deserializer::from_slice(json);
        Walk { fields: self, found: &mut found }.deserialize(&mut text).and_then(|()| text.end()).map_err(NotJson)
    }
}

/// Where `part` lies in `whole`, of which it is a slice.
pub fn span(whole: &[u8], part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

struct Walk<'f, F> {
    fields: &'f Fields,
    found: &'f mut F,
}

impl<'de, F: FnMut(&'de str)> DeserializeSeed<'de> for Walk<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        if self.fields.end {
            let raw: &'de RawValue = serde::Deserialize::deserialize(value)?;
            (self.found)(raw.get());
            return Ok(());
        }
        value.deserialize_any(self)
    }
}

impl<'de, F: FnMut(&'de str)> Visitor<'de> for Walk<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(member) = members.next_key_seed(Member(self.fields))? {
            match member {
                Some(fields) => members.next_value_seed(Walk { fields, found: &mut *self.found })?,
                None => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        match &self.fields.elements {
            Some(fields) => while elements.next_element_seed(Walk { fields, found: &mut *self.found })?.is_some() {},
            None => while elements.next_element::<IgnoredAny>()?.is_some() {},
        }
        Ok(())
    }

    // A path that goes on where the value has ended finds nothing.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// Compares a member's name with those that are looked for, without keeping it.
struct Member<'f>(&'f Fields);

impl<'f, 'de> DeserializeSeed<'de> for Member<'f> {
    type Value = Option<&'f Fields>;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl<'f> Visitor<'_> for Member<'f> {
    type Value = Option<&'f Fields>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.members.iter().find(|(member, _)| member == name).map(|(_, fields)| fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(paths: &[&str], json: &str) -> Vec<String> {
        let mut all = Vec::new();
        Fields::new(paths.iter().copied()).unwrap().visit(json.as_bytes(), |raw| all.push(raw.to_owned())).unwrap();
        all
    }

    #[test]
    fn finds_text_as_it_was_written() {
        let json = r#"{"b": 1.500000000000000000001, "a": {"x": [ 1, 2 ], "\u0079": "é\n"}, "b": null}"#;
        assert_eq!(find(&["b", "a.x", "a.y"], json), ["1.500000000000000000001", "[ 1, 2 ]", "\"é\\n\"", "null"]);
    }

    #[test]
    fn a_star_is_every_element_of_a_list() {
        let json = r#"{"legs": [{"p": 1}, 7, {"p": [2]}, {"q": {"p": 3}}], "*": 4}"#;
        assert_eq!(find(&["legs.*.p"], json), ["1", "[2]"]);
        assert_eq!(find(&["*"], r#"[1, "2"]"#), ["1", "\"2\""]);
    }

    #[test]
    fn a_path_that_goes_too_far_finds_nothing() {
        for json in ["{\"a\": 1}", "{\"a\": null}", "{\"a\": \"b\"}", "{\"a\": [true]}", "3.5", "\"a\"", "-1"] {
            assert!(find(&["a.b"], json).is_empty(), "{json}");
        }
    }

    #[test]
    fn the_outer_of_two_fields_is_found() {
        assert_eq!(find(&["a.b", "a"], r#"{"a": {"b": 1}}"#), [r#"{"b": 1}"#]);
    }

    #[test]
    fn what_is_not_json_as_a_whole_is_refused() {
        let fields = Fields::new(["a"]).unwrap();
        for bad in [&b""[..], b"{", b"{\"a\": 1} x", b"{\"a\": \"\xff\"}", b"{\"a\": 01}", b"text"] {
            let refused = fields.visit(bad, |_| {}).unwrap_err().to_string();
            assert!(refused.starts_with("the value is not JSON: "), "{refused}");
        }
        assert!(Fields::new(["a..b"]).unwrap_err().to_string().contains("`a..b`"));
        assert!(Fields::new([""]).is_err());
    }
}
