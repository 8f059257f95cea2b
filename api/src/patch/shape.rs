//! What the facts say about the place where a patch is.

use crate::facts::{Schema, Type};

/// What is known of a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape<'a> {
    /// An object with known fields.
    Struct(&'a Schema),
    /// An object with free keys, whose values are all of one type.
    Map(&'a Type),
    /// A list, whose items are all of one type.
    List(&'a Type),
    /// Nothing: leaves, raw objects, unknown fields.
    Unknown,
}

/// How a strategic merge patch treats a field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Merging<'a> {
    /// What the field holds.
    pub(crate) shape: Shape<'a>,
    /// Whether lists merge.
    pub(crate) merges: bool,
    /// Whether objects are replaced as a whole.
    pub(crate) replaces: bool,
    /// Whether the patch says which keys are to stay.
    pub(crate) retains_keys: bool,
    /// By which key the items of a list are matched.
    pub(crate) key: Option<&'a str>,
}

impl<'a> Shape<'a> {
    /// The shape of a type.
    pub(crate) fn of(ty: &'a Type) -> Self {
        match ty {
            Type::Ref(schema) => Self::Struct(schema.schema()),
            Type::List { item, .. } => Self::List(item),
            Type::Map { value, .. } => Self::Map(value),
            Type::Scalar(_) | Type::RawObject | Type::Any => Self::Unknown,
        }
    }

    /// The shape of a list's items.
    pub(crate) fn item(self) -> Self {
        match self {
            Self::List(item) => Self::of(item),
            _ => Self::Unknown,
        }
    }

    /// What is known of a field of an object.
    pub(crate) fn field(self, name: &str) -> Merging<'a> {
        let plain = |shape| Merging {
            shape,
            merges: false,
            replaces: false,
            retains_keys: false,
            key: None,
        };
        match self {
            Self::Struct(schema) => schema.field(name).map_or(plain(Self::Unknown), |field| {
                let strategies = field.patch_strategy.unwrap_or_default();
                let has = |wanted| strategies.split(',').any(|strategy| strategy == wanted);
                Merging {
                    shape: Self::of(&field.ty),
                    merges: has("merge"),
                    replaces: has("replace"),
                    retains_keys: has("retainKeys"),
                    key: field.patch_merge_key,
                }
            }),
            Self::Map(value) => plain(Self::of(value)),
            Self::List(_) | Self::Unknown => plain(Self::Unknown),
        }
    }
}
