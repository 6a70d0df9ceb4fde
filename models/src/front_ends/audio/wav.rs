//! Samples as a WAV file.

use std::io::Cursor;

/// One channel of samples within -1 to 1 as a WAV file of 16 bits; what lies beyond is clipped.
pub fn wav(samples: &[f32], sample_rate: u32) -> Vec<u8> {
    let spec =
        hound::WavSpec { channels: 1, sample_rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut bytes = Cursor::new(Vec::new());
    let write = |bytes: &mut Cursor<Vec<u8>>| -> hound::Result<()> {
        let mut writer = hound::WavWriter::new(bytes, spec)?;
        for sample in samples {
            writer.write_sample((sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)).round() as i16)?;
        }
        writer.finalize()
    };
    write(&mut bytes).expect("memory takes what is written, and no sound of four hours is beyond 4 GB");
    bytes.into_inner()
}
