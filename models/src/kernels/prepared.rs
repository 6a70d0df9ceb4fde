//! What is made of an operator's parameters at first use: packed or transformed weights.

use std::any::Any;
use std::sync::OnceLock;

use crate::error::Result;

/// Something that is made once, in the element type in which its operator computes.
#[derive(Default)]
pub(crate) struct Prepared(OnceLock<(Box<dyn Any + Send + Sync>, usize)>);

impl Prepared {
    /// What was made, or is made now, with the bytes that it holds.
    pub(crate) fn get_or_make<P: Any + Send + Sync>(
        &self,
        bytes: impl FnOnce(&P) -> usize,
        make: impl FnOnce() -> Result<P>,
    ) -> Result<&P> {
        if self.0.get().is_none() {
            let made = make()?;
            let bytes = bytes(&made);
            // Whoever made it at the same time made the same.
            let _ = self.0.set((Box::new(made), bytes));
        }
        let (made, _) = self.0.get().expect("it was set above");
        Ok(made.downcast_ref().expect("an operator computes in one element type"))
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
