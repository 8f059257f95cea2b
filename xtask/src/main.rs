//! Chores of the workspace that are programs: `cargo run -p xtask -- facts [REFERENCE]`.

mod facts;
mod resources;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("facts") => {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"))
                .parent()
                .context("xtask has a parent folder")?;
            let reference = args
                .next()
                .map_or_else(|| root.join("../shared/reference/kubernetes-1.36"), PathBuf::from);
            let out = root.join("api/src/facts/generated");
            std::fs::create_dir_all(&out)?;
            facts::generate(&reference, &out)?;
            facts::generate_described(&reference, &root.join("apiserver/src/openapi/generated.rs"))?;
            resources::generate(&reference, &out)
        }
        _ => bail!("usage: xtask facts [FOLDER-OF-THE-REFERENCE]"),
    }
}
