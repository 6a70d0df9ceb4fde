//! Prints `docs/protocol.md`.

fn main() {
    print!("{}", client_protocol::reference_page());
}
