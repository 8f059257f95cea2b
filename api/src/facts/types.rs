//! The shape of a fact.

use std::collections::HashMap;

use serde_json::Value;

/// A struct-like type: what Go would call a struct with JSON tags.
#[derive(Debug)]
pub struct Schema {
    /// Upstream's full name: `io.k8s.api.core.v1.Pod`.
    pub name: &'static str,
    /// In alphabetical order.
    pub fields: Vec<Field>,
    /// The kinds that have this shape; empty for everything that is not a whole object.
    pub kinds: Vec<Kind>,
    /// Whether the struct is owned and applied as a whole (`x-kubernetes-map-type: atomic`).
    pub map_type: Option<MapType>,
    /// `x-kubernetes-unions`, as JSON text.
    pub unions: Vec<&'static str>,
    pub(super) index: HashMap<&'static str, usize>,
}

impl Schema {
    /// Finds a field by its JSON name, case-sensitively.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.index.get(name).and_then(|at| self.fields.get(*at))
    }

    /// The Go type's name, as its errors spell it: `ObjectMeta`.
    pub fn go_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }
}

/// A group, version and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// Empty for the core group.
    pub group: &'static str,
    /// `v1`
    pub version: &'static str,
    /// `Pod`
    pub kind: &'static str,
}

/// One field of a [`Schema`].
#[derive(Debug)]
pub struct Field {
    /// As JSON spells it.
    pub name: &'static str,
    /// What it holds.
    pub ty: Type,
    /// Whether the OpenAPI document requires it.
    pub required: bool,
    /// How a strategic merge patch treats it: `merge`, `replace`, `retainKeys`, `merge,retainKeys`.
    pub patch_strategy: Option<&'static str>,
    /// The key by which a strategic merge patch matches a list's items.
    pub patch_merge_key: Option<&'static str>,
    /// `x-kubernetes-list-type`, where it was written down; [`Type::List`] has the effective one.
    pub list_type: Option<ListType>,
    /// `x-kubernetes-map-type`, where it was written down on the field.
    pub map_type: Option<MapType>,
    /// The schema's default, as JSON text.
    pub default: Option<&'static str>,
    /// The default of the list's items or the map's values, as JSON text.
    pub element_default: Option<&'static str>,
    /// Upstream's name of the innermost type, where that is a type with a name of its own that is no [`Schema`] here:
    /// `io.k8s.apimachinery.pkg.runtime.RawExtension`.
    pub leaf_name: Option<&'static str>,
}

impl Field {
    /// The schema's default, parsed. Go's zero values (`""`, `{}`, `0`) are among them.
    pub fn default_value(&self) -> Option<Value> {
        self.default.and_then(|text| serde_json::from_str(text).ok())
    }

    /// Whether the field is a struct or a map that is owned and applied as a whole.
    pub fn is_atomic(&self) -> bool {
        match (&self.ty, self.map_type) {
            (_, Some(map_type)) => map_type == MapType::Atomic,
            (Type::Ref(schema), None) => schema.map_type == Some(MapType::Atomic),
            (Type::Map { map_type, .. }, None) => *map_type == MapType::Atomic,
            (Type::List { list_type, .. }, None) => *list_type == ListType::Atomic,
            (Type::Scalar(_) | Type::RawObject | Type::Any, None) => true,
        }
    }
}

/// What a field, a list's item or a map's value holds.
#[derive(Clone, Debug)]
pub enum Type {
    /// Another struct.
    Ref(SchemaRef),
    /// A leaf.
    Scalar(Scalar),
    /// A JSON array.
    List {
        /// What each item is.
        item: Box<Type>,
        /// Atomic unless it says otherwise.
        list_type: ListType,
        /// The fields that identify an item of a [`ListType::Map`].
        map_keys: Vec<&'static str>,
    },
    /// A JSON object with free keys.
    Map {
        /// What each value is.
        value: Box<Type>,
        /// Granular unless it says otherwise.
        map_type: MapType,
    },
    /// A JSON object whose content is kept as it is: `RawExtension`, `FieldsV1`.
    RawObject,
    /// Any JSON at all: `JSON`, `JSONSchemaPropsOrBool`.
    Any,
}

/// Types that are one JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// A string.
    String,
    /// `true` or `false`.
    Bool,
    /// An integer of 32 bits.
    Int32,
    /// An integer of 64 bits.
    Int64,
    /// A floating point number.
    Double,
    /// A string or an integer.
    IntOrString,
    /// A quantity: a string, or a number that becomes one.
    Quantity,
    /// RFC 3339 with seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// Base64.
    Bytes,
}

/// `x-kubernetes-list-type`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListType {
    /// Replaced as a whole.
    Atomic,
    /// Scalars, each once.
    Set,
    /// Objects, identified by their keys.
    Map,
}

/// `x-kubernetes-map-type`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapType {
    /// Replaced as a whole.
    Atomic,
    /// Each key on its own.
    Granular,
}

/// A reference to a [`Schema`]: schemas refer to each other in circles, so it is resolved when followed.
#[derive(Clone, Copy)]
pub struct SchemaRef(pub(super) &'static str);

impl SchemaRef {
    /// The name of the schema that is referred to.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// The schema that is referred to.
    pub fn schema(self) -> &'static Schema {
        super::table::resolve(self.0)
    }
}

impl std::ops::Deref for SchemaRef {
    type Target = Schema;

    fn deref(&self) -> &Schema {
        self.schema()
    }
}

impl std::fmt::Debug for SchemaRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}
