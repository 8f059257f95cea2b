//! redb: one file, one table, one transaction per batch.

use std::path::Path;

use redb::{Builder, Database, ReadableDatabase as _, StorageBackend, TableDefinition};

use super::{Engine, EngineError, Records, Writes};
use crate::position::Position;

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

/// Records in a redb file.
pub struct RedbRecords {
    database: Database,
}

fn failed(act: &'static str) -> impl FnOnce(redb::Error) -> EngineError {
    move |error| EngineError {
        engine: Engine::Redb,
        act,
        reason: error.to_string(),
    }
}

impl RedbRecords {
    /// Opens or makes the file.
    pub fn open(file: &Path, cache_bytes: usize) -> Result<Self, EngineError> {
        let database = Builder::new().set_cache_size(cache_bytes).create(file);
        Self::ready(database.map_err(redb::Error::from))
    }

    /// Opens or makes a database on something else than a file: the tests cut its power.
    pub fn with_backend(backend: impl StorageBackend, cache_bytes: usize) -> Result<Self, EngineError> {
        let database = Builder::new().set_cache_size(cache_bytes).create_with_backend(backend);
        Self::ready(database.map_err(redb::Error::from))
    }

    fn ready(database: Result<Database, redb::Error>) -> Result<Self, EngineError> {
        let records = Self {
            database: database.map_err(failed("open its file"))?,
        };
        records.write(Writes::default()).map_err(failed("make its table"))?;
        Ok(records)
    }

    /// Gives free space in the file back to the file system. Takes time in proportion to the file.
    pub fn shrink(&mut self) -> Result<bool, EngineError> {
        self.database
            .compact()
            .map_err(redb::Error::from)
            .map_err(failed("compact its file"))
    }

    fn write(&self, writes: Writes) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        // Keeps the allocator's state in every commit: opening after a crash takes milliseconds instead of a walk over the file.
        transaction.set_quick_repair(true);
        {
            let mut table = transaction.open_table(RECORDS)?;
            for (position, record) in &writes.puts {
                table.insert(position.to_bytes().as_slice(), record.as_slice())?;
            }
            for position in &writes.deletes {
                table.remove(position.to_bytes().as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn read(&self, position: Position) -> Result<Option<Vec<u8>>, redb::Error> {
        let table = self.database.begin_read()?.open_table(RECORDS)?;
        Ok(table
            .get(position.to_bytes().as_slice())?
            .map(|record| record.value().to_vec()))
    }

    fn walk(&self, from: Position, each: &mut dyn FnMut(Position, &[u8])) -> Result<(), redb::Error> {
        let table = self.database.begin_read()?.open_table(RECORDS)?;
        for record in table.range(from.to_bytes().as_slice()..)? {
            let (key, value) = record?;
            if let Some(position) = Position::from_bytes(key.value()) {
                each(position, value.value());
            }
        }
        Ok(())
    }
}

impl Records for RedbRecords {
    fn apply(&self, writes: Writes) -> Result<(), EngineError> {
        self.write(writes).map_err(failed("write a batch"))
    }

    fn get(&self, position: Position) -> Result<Option<Vec<u8>>, EngineError> {
        self.read(position).map_err(failed("read a record"))
    }

    fn scan(&self, from: Position, each: &mut dyn FnMut(Position, &[u8])) -> Result<(), EngineError> {
        self.walk(from, each).map_err(failed("read its records"))
    }
}
