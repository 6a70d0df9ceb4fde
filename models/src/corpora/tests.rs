use super::*;
use crate::front_ends::audio::wav;

/// Files in memory.
struct Memory(BTreeMap<String, Vec<u8>>);

impl CorpusFiles for Memory {
    fn list(&self) -> std::io::Result<Vec<String>> {
        Ok(self.0.keys().cloned().collect())
    }

    fn read(&self, path: &str) -> std::io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}

fn memory(files: &[(&str, &[u8])]) -> Memory {
    Memory(files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect())
}

fn sound() -> Vec<u8> {
    wav(&[0.1; 8000], 16_000)
}

fn photo() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    ::image::RgbImage::new(3, 2).write_to(&mut bytes, ::image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn libri_speech_is_read_as_it_lies() {
    let (sound, half) = (sound(), &sound()[..30]);
    let files = memory(&[
        ("dev/84/121/84-121-0000.flac", b"fLaC but no more"),
        ("dev/84/121/84-121-0001.wav", &sound),
        ("dev/84/121/84-121-0001.phones.tsv", b"0.0\t0.2\tg\tG\n"),
        ("dev/84/121/84-121-0003.wav", &sound),
        ("dev/84/121/84-121-0004.wav", half),
        (
            "dev/84/121/84-121.trans.txt",
            b"84-121-0000 GO\n84-121-0001 DO YOU REALLY\n84-121-0002 NOTHING HERE\n84-121-0004 CUT\n",
        ),
        ("SPEAKERS.TXT", b"84 | F"),
    ]);
    let corpus = read(&files, None).unwrap();
    assert_eq!(corpus.layout, Layout::LibriSpeech);
    let [item] = &corpus.items[..] else { panic!("{corpus:?}") };
    assert_eq!((item.id.as_str(), item.transcript.as_deref()), ("84-121-0001", Some("DO YOU REALLY")));
    assert_eq!((item.speaker.as_deref(), item.duration), (Some("84"), Some(0.5)));
    assert_eq!(item.columns["chapter"], "121");
    assert_eq!(item.columns["part"], "dev");
    let phones = files.read(item.phones_path.as_deref().unwrap()).unwrap();
    assert_eq!(read_phones(std::str::from_utf8(&phones).unwrap()).unwrap()[0].arpabet, "G");
    let damaged: Vec<&str> = corpus.damaged.iter().map(|damaged| damaged.path.as_str()).collect();
    assert_eq!(damaged.len(), 4);
    for number in ["0000", "0002", "0003", "0004"] {
        assert!(damaged.iter().any(|path| path.contains(number)), "{number}: {damaged:?}");
    }
}

#[test]
fn manifests_of_every_kind_name_files() {
    let sound = sound();
    let csv =
        b"path,transcript,speaker,accent\na.wav,\"hello, you\",ann,us\nmissing.wav,no,bob,us\na.wav,again,ann,us\n";
    let corpus = read(&memory(&[("a.wav", &sound), ("list.csv", csv)]), None).unwrap();
    assert_eq!(corpus.items.len(), 1);
    assert_eq!(corpus.items[0].transcript.as_deref(), Some("hello, you"));
    assert_eq!(corpus.items[0].columns["accent"], "us");
    assert_eq!(corpus.damaged.len(), 2);
    let tsv = b"client_id\tpath\tsentence\nx1\tb.wav\tsay \"this\n";
    let corpus =
        read(&memory(&[("clips/b.wav", &sound), ("validated.tsv", tsv), ("other.tsv", b"a\tb\n")]), None).unwrap();
    assert_eq!(corpus.items[0].path, "clips/b.wav");
    assert_eq!(
        (corpus.items[0].speaker.as_deref(), corpus.items[0].transcript.as_deref()),
        (Some("x1"), Some("say \"this"))
    );
    let json = br#"{"audio_filepath": "c.wav", "text": "yes", "year": 1990}"#;
    let corpus = read(&memory(&[("c.wav", &sound), ("x.jsonl", json)]), None).unwrap();
    assert_eq!(
        (corpus.items[0].transcript.as_deref(), corpus.items[0].columns["year"].as_str()),
        (Some("yes"), "1990")
    );
}

#[test]
fn folders_are_classes() {
    let photo = photo();
    let files = memory(&[
        ("train/cat/1.png", &photo),
        ("train/dog/2.png", &photo),
        ("train/dog/3.png", b"\x89PNG"),
        ("readme.txt", b""),
    ]);
    let corpus = read(&files, None).unwrap();
    let classes: Vec<&str> = corpus.items.iter().filter_map(|item| item.class.as_deref()).collect();
    assert_eq!((classes, corpus.damaged.len()), (vec!["cat", "dog"], 1));
    assert_eq!(corpus.items[0].columns["part"], "train");
}

#[track_caller]
fn refused(files: &[(&str, &[u8])], because: &str) {
    let error = read(&memory(files), None).unwrap_err().to_string();
    assert!(error.contains(because), "{error}");
}

#[test]
fn what_is_no_corpus_is_told_what_would_be() {
    refused(&[], "the folder is empty");
    refused(&[("notes.txt", b"")], "1 files, the first `notes.txt`");
    refused(&[("x.csv", b"name,age\nann,3\n")], "row 1 has no file; one of the columns `path`");
    refused(&[("x.csv", b"path,text\na.wav\n")], "manifest `x.csv`");
    refused(&[("x.csv", b"path,text\n")], "it has no rows");
    refused(&[("x.jsonl", b"{not json")], "line 1");
    refused(&[("a/b.wav", b"RIFF")], "all 1 files are damaged, the first `a/b.wav`");
    assert!(read_phones("0.1\t0.0\tx\tX").unwrap_err().starts_with("line 1 is no"));
    assert!(read_phones("0.1 0.2 x X").is_err());
}
