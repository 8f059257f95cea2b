//! JSON, by a visitor over serde_json's parser that keeps its place, so that duplicates have paths.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{DecodeError, Decoded, MAX_BYTES, MAX_DEPTH, MAX_VALUES, Place, note};

/// Decodes one JSON document.
///
/// # Errors
/// Refuses what is not JSON, has anything after the document, or is larger or deeper than allowed.
pub fn json(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    if bytes.len() > MAX_BYTES {
        return Err(DecodeError::TooLarge { limit: MAX_BYTES });
    }
    let mut duplicates = Vec::new();
    let mut refused = None;
    let mut values = 0;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let node = Node {
        place: Place::Root,
        depth: 0,
        duplicates: &mut duplicates,
        values: &mut values,
        refused: &mut refused,
    };
    let result = node
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    match result {
        Ok(value) => Ok(Decoded { value, duplicates }),
        Err(error) => Err(refused.unwrap_or_else(|| DecodeError::Json(error.to_string()))),
    }
}

struct Node<'a> {
    place: Place<'a>,
    depth: usize,
    duplicates: &'a mut Vec<String>,
    values: &'a mut usize,
    /// Why decoding was broken off, where that was not for the JSON's sake.
    refused: &'a mut Option<DecodeError>,
}

impl Node<'_> {
    fn deeper<E: Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            *self.refused = Some(DecodeError::TooDeep { limit: MAX_DEPTH });
            return Err(E::custom("too deep"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        *self.values += 1;
        if *self.values > MAX_VALUES {
            *self.refused = Some(DecodeError::TooMany { limit: MAX_VALUES });
            return Err(D::Error::custom("too many"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        self.deeper()?;
        let mut items = Vec::new();
        loop {
            let node = Node {
                place: Place::Index(&self.place, items.len()),
                depth: self.depth,
                duplicates: &mut *self.duplicates,
                values: &mut *self.values,
                refused: &mut *self.refused,
            };
            match access.next_element_seed(node)? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let place = Place::Key(&self.place, &key);
            if map.contains_key(&key) {
                note(self.duplicates, place.path());
            }
            let value = access.next_value_seed(Node {
                place,
                depth: self.depth,
                duplicates: &mut *self.duplicates,
                values: &mut *self.values,
                refused: &mut *self.refused,
            })?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
