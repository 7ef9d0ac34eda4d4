use wasmparser::{
    ComponentAlias, ComponentExternalKind as Kind, ComponentInstance, ComponentOuterAliasKind as Outer, ElementItems,
    Encoding, Instance, Payload,
};

use super::ArtifactError;

/// How many entries all instances in a plugin may have together. Each takes up to 48 bytes; plugins in Go have some 40,000,
/// and those in Python 15,000.
const ENTRIES_MAX: usize = 500_000;
/// How many modules, and how many components, one component may instantiate: those of SDKs have a few dozen. Any more are
/// as good as unknown.
const INDICES_MAX: usize = 10_000;

/// What starting a plugin takes beside its memories and tables, which the store's limits bound: some bytes in every
/// instance for each global, import, export, element and segment of its module. A small module with many of them, often
/// instantiated, would take gigabytes.
///
/// Counted while a file is parsed, section by section.
#[derive(Default)]
pub(super) struct Footprint {
    /// The file, and what is open within it, the innermost last.
    open: Vec<Part>,
    /// The file's, once it is parsed.
    total: Entries,
}

/// How many entries an instance has. None: it is an instance of something that comes from elsewhere.
type Entries = Option<u64>;

/// A module or component.
struct Part {
    encoding: Encoding,
    /// Of one instance of it, with all instances that it makes.
    entries: Entries,
    /// What it may instantiate, by index.
    modules: Vec<Entries>,
    components: Vec<Entries>,
}

impl Footprint {
    /// How deep within each other the modules and components are to which the next section belongs: 1 is the file itself.
    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Counts a section, the beginning or the end of a module or component.
    ///
    /// # Errors
    /// The section cannot be read.
    pub(super) fn add(&mut self, payload: &Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::Version { encoding, .. } => self.begin(*encoding),
            Payload::End(_) => self.end(),
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases.clone() {
                    self.alias(&alias?);
                }
            }
            _ => {
                if let Some(part) = self.open.last_mut() {
                    part.add(payload)?;
                }
            }
        }
        Ok(())
    }

    /// # Errors
    /// The instances have more entries than any plugin needs, or there is no telling.
    pub(super) fn check(&self) -> Result<(), ArtifactError> {
        let what = "globals, imports, exports, elements and segments in all its instances";
        match self.total {
            Some(entries) if entries <= ENTRIES_MAX as u64 => Ok(()),
            Some(_) => Err(ArtifactError::TooMany { what, max: ENTRIES_MAX }),
            None => Err(ArtifactError::InstantiatesOthers),
        }
    }

    fn begin(&mut self, encoding: Encoding) {
        self.open.push(Part { encoding, entries: Some(0), modules: Vec::new(), components: Vec::new() });
    }

    fn end(&mut self) {
        let Some(Part { encoding, entries, .. }) = self.open.pop() else { return };
        match (self.open.last_mut(), encoding) {
            (None, _) => self.total = entries,
            (Some(outer), Encoding::Module) => outer.define(Kind::Module, entries),
            (Some(outer), Encoding::Component) => outer.define(Kind::Component, entries),
        }
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) {
        // How many levels out, from 0 for where the alias is; and the index there.
        let outer = |kind, (level, index): (u32, u32)| {
            let part = self.open.iter().rev().nth(level as usize);
            (kind, part.and_then(|part| part.known(kind, index)))
        };
        let (kind, entries) = match *alias {
            ComponentAlias::InstanceExport { kind, .. } => (kind, None),
            ComponentAlias::Outer { kind: Outer::CoreModule, count, index } => outer(Kind::Module, (count, index)),
            ComponentAlias::Outer { kind: Outer::Component, count, index } => outer(Kind::Component, (count, index)),
            _ => return,
        };
        if let Some(part) = self.open.last_mut() {
            part.define(kind, entries);
        }
    }
}

impl Part {
    fn add(&mut self, payload: &Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::ImportSection(section) => self.count(section.count()),
            Payload::TableSection(section) => self.count(section.count()),
            Payload::MemorySection(section) => self.count(section.count()),
            Payload::GlobalSection(section) => self.count(section.count()),
            Payload::ExportSection(section) => self.count(section.count()),
            Payload::DataSection(section) => self.count(section.count()),
            Payload::ElementSection(section) => {
                self.count(section.count());
                for element in section.clone() {
                    self.count(match element?.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    });
                }
            }
            Payload::ComponentCanonicalSection(section) => self.count(section.count()),
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        self.instantiate(Kind::Module, module_index);
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section.clone() {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        self.instantiate(Kind::Component, component_index);
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    self.define(import?.ty.kind(), None);
                }
            }
            // What is exported has a new index.
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let export = export?;
                    self.define(export.kind, self.known(export.kind, export.index));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, entries: u32) {
        self.entries = self.entries.map(|all| all.saturating_add(entries.into()));
    }

    fn instantiate(&mut self, kind: Kind, index: u32) {
        // The instance itself is one more, so that even empty ones do not nest without an end.
        let added = self.known(kind, index).map(|entries| entries.saturating_add(1));
        self.entries = self.entries.zip(added).map(|(all, added)| all.saturating_add(added));
    }

    /// Gives the next index to a module or component.
    fn define(&mut self, kind: Kind, entries: Entries) {
        let defined = match kind {
            Kind::Module => &mut self.modules,
            Kind::Component => &mut self.components,
            _ => return,
        };
        if defined.len() < INDICES_MAX {
            defined.push(entries);
        }
    }

    fn known(&self, kind: Kind, index: u32) -> Entries {
        let known = match kind {
            Kind::Module => &self.modules,
            Kind::Component => &self.components,
            _ => return None,
        };
        known.get(index as usize).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Artifact;

    /// A component that is a plugin by its exports, with this in it.
    fn read(wat: &str) -> Result<(), ArtifactError> {
        let wat = format!(
            "(component {wat} (instance $i)
                (export \"sluicegate:plugin/lifecycle@0.1.0\" (instance $i))
                (export \"sluicegate:plugin/transform@0.1.0\" (instance $i)))"
        );
        Artifact::read(&wat::parse_str(wat).unwrap()).map(drop)
    }

    fn is_too_much(result: &Result<(), ArtifactError>) -> bool {
        matches!(result, Err(ArtifactError::TooMany { max: ENTRIES_MAX, .. }))
    }

    /// A module of a thousand globals, or of as much of something else.
    fn thousand(what: &str) -> String {
        format!("(core module $m {})", what.repeat(1000))
    }

    #[test]
    fn what_a_module_has_counts_as_often_as_it_is_instantiated() {
        let globals = thousand("(global (mut i32) (i32.const 0))");
        let instances = |count: usize| "(core instance (instantiate $m))".repeat(count);
        assert_eq!(read(&format!("{globals} {}", instances(499))), Ok(()));
        assert!(is_too_much(&read(&format!("{globals} {}", instances(500)))));
        for what in ["(table 0 funcref)", "(elem funcref)", "(data \"\")"] {
            assert!(is_too_much(&read(&format!("{} {}", thousand(what), instances(500)))), "{what}");
        }
        let elements = format!("(core module $m (func $f) (elem func {}))", "$f ".repeat(1000));
        assert!(is_too_much(&read(&format!("{elements} {}", instances(500)))));
        // What is never instantiated takes nothing.
        assert_eq!(read(&"(core module (global i32 (i32.const 0)))".repeat(1000)), Ok(()));
    }

    #[test]
    fn components_in_components_multiply() {
        let globals = thousand("(global (mut i32) (i32.const 0))");
        let twice = |inner: &str| {
            format!(
                "(component $c {inner} (alias outer $top $m (core module $n)) (core instance (instantiate $n))
                    (instance (instantiate $c)) (instance (instantiate $c)))"
            )
        };
        let nested = |depth: usize| (0..depth).fold("(component $c)".to_owned(), |inner, _| twice(&inner));
        let whole = |depth: usize| {
            let wat = format!("(component $top {globals} {} (instance (instantiate $c)))", nested(depth));
            let mut footprint = Footprint::default();
            for payload in wasmparser::Parser::new(0).parse_all(&wat::parse_str(wat).unwrap()) {
                footprint.add(&payload.unwrap()).unwrap();
            }
            footprint.check()
        };
        assert_eq!(whole(8), Ok(()), "255 instances of the module");
        assert!(is_too_much(&whole(9)), "511 of them");
        assert!(is_too_much(&whole(60)), "more than can be counted");
    }

    #[test]
    fn what_comes_from_elsewhere_is_not_instantiated() {
        let taker = "(component $c (import \"m\" (core module $m)) (core instance (instantiate $m)))";
        assert_eq!(read(taker), Ok(()));
        let taken = format!("(core module $m) {taker} (instance (instantiate $c (with \"m\" (core module $m))))");
        assert_eq!(read(&taken), Err(ArtifactError::InstantiatesOthers));
    }
}
