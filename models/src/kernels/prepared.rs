//! What is made of an operator's parameters at first use: packed or transformed weights.

use std::any::Any;
use std::sync::OnceLock;

/// Something that is made once, in the element type in which its operator computes.
#[derive(Default)]
pub(crate) struct Prepared(OnceLock<(Box<dyn Any + Send + Sync>, usize)>);

impl Prepared {
    /// What was made, or is made now, with the bytes that it holds.
    pub(crate) fn get_or_make<P: Any + Send + Sync>(
        &self,
        bytes: impl FnOnce(&P) -> usize,
        make: impl FnOnce() -> P,
    ) -> &P {
        let (made, _) = self.0.get_or_init(|| {
            let made = make();
            let bytes = bytes(&made);
            (Box::new(made), bytes)
        });
        made.downcast_ref().expect("an operator computes in one element type")
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.0.get().map_or(0, |(_, bytes)| *bytes)
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prepared({} bytes)", self.bytes())
    }
}
