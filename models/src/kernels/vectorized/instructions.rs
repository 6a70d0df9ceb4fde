//! Which instructions the kernels use.

use std::sync::OnceLock;

/// A set of vector instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instructions {
    /// 16 numbers at once, 32 registers.
    Avx512,
    /// 8 numbers at once, 16 registers.
    Avx2,
    /// Whatever the compiler makes of plain loops.
    Plain,
}

/// Names the instructions to use: `avx512`, `avx2` or `plain`; for tests of every path on one processor.
const VARIABLE: &str = "INTROSPECT_INSTRUCTIONS";

impl Instructions {
    /// The best that this processor has, or those that the environment names.
    pub(crate) fn active() -> Instructions {
        static ACTIVE: OnceLock<Instructions> = OnceLock::new();
        *ACTIVE.get_or_init(|| {
            let best = Instructions::best();
            match std::env::var(VARIABLE).as_deref() {
                Ok("avx512") if best == Instructions::Avx512 => Instructions::Avx512,
                Ok("avx2") if best != Instructions::Plain => Instructions::Avx2,
                Ok("plain") => Instructions::Plain,
                Ok(other) => {
                    tracing::warn!("{VARIABLE}={other} is not avx512, avx2 or plain, or not had here; using {best:?}");
                    best
                }
                Err(_) => best,
            }
        })
    }

    #[cfg(target_arch = "x86_64")]
    fn best() -> Instructions {
        if is_x86_feature_detected!("avx512f") {
            Instructions::Avx512
        } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            Instructions::Avx2
        } else {
            Instructions::Plain
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn best() -> Instructions {
        Instructions::Plain
    }
}
