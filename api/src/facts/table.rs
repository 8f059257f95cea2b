//! Reads `generated/schemas.txt`, once, at first use (13 ms in a debug build here).
//!
//! A line that starts with a name opens a schema: `NAME [M:map-type] [K:group/version/kind]... [U:union as JSON]...`.
//! A line that starts with a tab is a field of it, separated by tabs: `NAME[!] TYPE [L:list-type] [Y:map,keys] [M:map-type]
//! [P:patch strategy] [G:merge key] [D:default as JSON] [E:default of the elements as JSON]`; `!` marks what is required.
//! A type is `[T` (list of T), `{T` (map to T), `@NAME` (another schema) or the word of a scalar.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use super::types::{Field, Kind, ListType, MapType, Scalar, Schema, SchemaRef, Type};

static TEXT: &str = include_str!("generated/schemas.txt");
static TABLE: LazyLock<Table> = LazyLock::new(|| Table::parse(TEXT));
static EMPTY: LazyLock<Schema> = LazyLock::new(|| Schema {
    name: "",
    fields: Vec::new(),
    kinds: Vec::new(),
    map_type: None,
    unions: Vec::new(),
    index: HashMap::new(),
});

struct Table {
    schemas: BTreeMap<&'static str, Schema>,
    kinds: HashMap<(&'static str, &'static str, &'static str), &'static str>,
}

/// Finds the shape of a kind. `List` kinds, `Status`, `DeleteOptions` and the other options that have OpenAPI schemas are included.
pub fn schema_for(group: &str, version: &str, kind: &str) -> Option<&'static Schema> {
    if matches!(kind, "DeleteOptions" | "WatchEvent" | "Status") {
        return schema_by_name(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"));
    }
    let kinds: &HashMap<(&str, &str, &str), &'static str> = &TABLE.kinds;
    schema_by_name(kinds.get(&(group, version, kind))?)
}

/// Finds a schema by upstream's full name: `io.k8s.api.core.v1.PodSpec`.
pub fn schema_by_name(name: &str) -> Option<&'static Schema> {
    TABLE.schemas.get(name)
}

/// Every schema, by name.
pub fn all() -> impl Iterator<Item = &'static Schema> {
    TABLE.schemas.values()
}

/// A reference always resolves (a test walks all of them); an empty schema stands in for what cannot happen.
pub(super) fn resolve(name: &str) -> &'static Schema {
    TABLE.schemas.get(name).unwrap_or(&EMPTY)
}

impl Table {
    fn parse(text: &'static str) -> Self {
        let mut schemas: BTreeMap<&'static str, Schema> = BTreeMap::new();
        let mut current: Option<Schema> = None;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some(field) = line.strip_prefix('\t') {
                if let (Some(schema), Some(field)) = (&mut current, parse_field(field)) {
                    schema.index.insert(field.name, schema.fields.len());
                    schema.fields.push(field);
                }
            } else if let Some(done) = current.replace(parse_head(line)) {
                schemas.insert(done.name, done);
            }
        }
        schemas.extend(current.map(|schema| (schema.name, schema)));
        let kinds = schemas
            .values()
            .flat_map(|schema| schema.kinds.iter().map(|k| ((k.group, k.version, k.kind), schema.name)))
            .collect();
        Self { schemas, kinds }
    }
}

fn parse_head(line: &'static str) -> Schema {
    let mut words = line.split(' ');
    let mut schema = Schema {
        name: words.next().unwrap_or_default(),
        fields: Vec::new(),
        kinds: Vec::new(),
        map_type: None,
        unions: Vec::new(),
        index: HashMap::new(),
    };
    for (letter, value) in words.filter_map(|word| word.split_once(':')) {
        match letter {
            "M" => schema.map_type = map_type(value),
            "U" => schema.unions.push(value),
            _ => {
                let mut parts = value.splitn(3, '/');
                let mut part = || parts.next().unwrap_or_default();
                schema.kinds.push(Kind {
                    group: part(),
                    version: part(),
                    kind: part(),
                });
            }
        }
    }
    schema
}

fn parse_field(line: &'static str) -> Option<Field> {
    let mut words = line.split('\t');
    let name = words.next()?;
    let ty = words.next()?;
    let mut field = Field {
        name: name.trim_end_matches('!'),
        required: name.ends_with('!'),
        ty: Type::Any,
        patch_strategy: None,
        patch_merge_key: None,
        list_type: None,
        map_type: None,
        default: None,
        element_default: None,
        leaf_name: leaf_name(ty.trim_start_matches(['[', '{'])),
    };
    let mut keys = Vec::new();
    for (letter, value) in words.filter_map(|word| word.split_once(':')) {
        match letter {
            "L" => {
                field.list_type = match value {
                    "map" => Some(ListType::Map),
                    "set" => Some(ListType::Set),
                    _ => Some(ListType::Atomic),
                }
            }
            "Y" => keys = value.split(',').collect(),
            "M" => field.map_type = map_type(value),
            "P" => field.patch_strategy = Some(value),
            "G" => field.patch_merge_key = Some(value),
            "D" => field.default = Some(value),
            _ => field.element_default = Some(value),
        }
    }
    field.ty = parse_type(ty);
    match &mut field.ty {
        Type::List {
            list_type, map_keys, ..
        } => {
            *list_type = field.list_type.unwrap_or(ListType::Atomic);
            *map_keys = keys;
        }
        Type::Map { map_type, .. } => *map_type = field.map_type.unwrap_or(MapType::Granular),
        _ => {}
    }
    Some(field)
}

fn map_type(word: &str) -> Option<MapType> {
    match word {
        "atomic" => Some(MapType::Atomic),
        "granular" => Some(MapType::Granular),
        _ => None,
    }
}

fn parse_type(word: &'static str) -> Type {
    if let Some(item) = word.strip_prefix('[') {
        return Type::List {
            item: Box::new(parse_type(item)),
            list_type: ListType::Atomic,
            map_keys: Vec::new(),
        };
    }
    if let Some(value) = word.strip_prefix('{') {
        return Type::Map {
            value: Box::new(parse_type(value)),
            map_type: MapType::Granular,
        };
    }
    if let Some(name) = word.strip_prefix('@') {
        return Type::Ref(SchemaRef(name));
    }
    Type::Scalar(match word {
        "string" => Scalar::String,
        "bool" => Scalar::Bool,
        "int32" => Scalar::Int32,
        "int64" => Scalar::Int64,
        "double" => Scalar::Double,
        "intorstring" => Scalar::IntOrString,
        "quantity" => Scalar::Quantity,
        "time" => Scalar::Time,
        "microtime" => Scalar::MicroTime,
        "bytes" => Scalar::Bytes,
        "object" | "fieldsv1" | "rawextension" | "patch" => return Type::RawObject,
        _ => return Type::Any,
    })
}

/// Types that marshal themselves in Go have names in OpenAPI documents, too.
fn leaf_name(word: &str) -> Option<&'static str> {
    Some(match word {
        "quantity" => "io.k8s.apimachinery.pkg.api.resource.Quantity",
        "intorstring" => "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        "time" => "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        "microtime" => "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        "fieldsv1" => "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        "patch" => "io.k8s.apimachinery.pkg.apis.meta.v1.Patch",
        "rawextension" => "io.k8s.apimachinery.pkg.runtime.RawExtension",
        "json" => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        "schemaorarray" => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
        "schemaorbool" => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
        "schemaorstrings" => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
        _ => return None,
    })
}
