//! Bytes of a WAV, FLAC, Ogg or MP3 file as blocks of samples, all channels mixed to one.

use std::io::Cursor;

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;

use super::{AudioError, MOST_SECONDS};

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct SoundInfo {
    /// As recorded (Hz).
    pub sample_rate: u32,
    /// How many channels.
    pub n_channels: usize,
    /// Samples of each channel.
    pub n_samples: u64,
}

impl SoundInfo {
    /// Its length (s).
    pub fn duration(&self) -> f64 {
        self.n_samples as f64 / f64::from(self.sample_rate)
    }
}

/// Decodes a whole sound, which shows whether it is whole, and keeps none of it.
pub fn inspect(bytes: &[u8]) -> Result<SoundInfo, AudioError> {
    let mut decoder = Decoder::open(bytes)?;
    while decoder.next_block()?.is_some() {}
    let info = decoder.info().clone();
    if info.n_samples == 0 { Err(AudioError::Empty) } else { Ok(info) }
}

/// What a file holds by its header; where that does not tell its length, the whole is decoded.
pub fn header(bytes: &[u8]) -> Result<SoundInfo, AudioError> {
    let decoder = Decoder::open(bytes)?;
    let n_samples = decoder.length.filter(|n_samples| *n_samples > 0);
    let Some(n_samples) = n_samples else { return inspect(bytes) };
    // The numbers of a WAV file are as many as its bytes tell.
    let is_cut_off = bytes.starts_with(b"RIFF") && declared_bytes(bytes).is_some_and(|declared| declared > bytes.len());
    if is_cut_off { inspect(bytes) } else { Ok(SoundInfo { n_samples, ..decoder.info }) }
}

/// How long a RIFF file is by its own account.
fn declared_bytes(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(4..8)?.try_into().ok().map(u32::from_le_bytes)?;
    Some(length as usize + 8)
}

/// Hands over one block after another.
pub(super) struct Decoder<'a> {
    reader: Box<dyn FormatReader + 'a>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    /// How many samples a channel has by the header.
    length: Option<u64>,
    /// The same where it is a promise.
    promised: Option<u64>,
    /// With the samples decoded so far.
    info: SoundInfo,
    interleaved: Vec<f32>,
    mono: Vec<f32>,
}

impl<'a> Decoder<'a> {
    /// Reads the header.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, AudioError> {
        if is_ogg_cut_off(bytes) {
            return Err(AudioError::Undecodable("its last page is missing; the file was cut off".to_owned()));
        }
        let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
        let reader = symphonia::default::get_probe()
            .probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
            .map_err(undecodable)?;
        let no_track = || AudioError::Undecodable("it holds no sound that is understood".to_owned());
        let track = reader.default_track(TrackType::Audio).ok_or_else(no_track)?;
        let params = track.codec_params.as_ref().and_then(|params| params.audio()).ok_or_else(no_track)?;
        let sample_rate = params.sample_rate.ok_or_else(no_track)?;
        if !(1000..=1_000_000).contains(&sample_rate) {
            let reason = format!("its sample rate is {sample_rate} Hz; 1000 to 1000000 Hz are understood");
            return Err(AudioError::Undecodable(reason));
        }
        // An MP3 file tells its length by its size, which is no promise.
        let is_exact = bytes.starts_with(b"RIFF") || bytes.starts_with(b"fLaC");
        let length = track.num_frames;
        let promised = length.filter(|_| is_exact);
        let (track, n_channels) = (track.id, params.channels.as_ref().map_or(1, |channels| channels.count()));
        let options = AudioDecoderOptions::default().verify(true);
        let decoder = symphonia::default::get_codecs().make_audio_decoder(params, &options).map_err(undecodable)?;
        let info = SoundInfo { sample_rate, n_channels, n_samples: 0 };
        Ok(Decoder { reader, decoder, track, length, promised, info, interleaved: vec![], mono: vec![] })
    }

    /// What the file holds; its samples are counted as they come.
    pub(super) fn info(&self) -> &SoundInfo {
        &self.info
    }

    /// The next samples, the mean of all channels; nothing at the end.
    pub(super) fn next_block(&mut self) -> Result<Option<&[f32]>, AudioError> {
        loop {
            let packet = match self.reader.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return self.ended().map(|()| None),
                Err(Error::IoError(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return self.ended().map(|()| None);
                }
                Err(error) => return Err(self.damaged(&error)),
            };
            if packet.track_id == self.track && self.decode(&packet)? {
                return Ok(Some(&self.mono));
            }
        }
    }

    /// Whether the packet held samples.
    fn decode(&mut self, packet: &symphonia::core::packet::Packet) -> Result<bool, AudioError> {
        let decoded = match self.decoder.decode(packet) {
            Ok(decoded) => decoded,
            Err(error) => return Err(self.damaged(&error)),
        };
        let (rate, n_channels) = (decoded.spec().rate(), decoded.spec().channels().count().max(1));
        if rate != self.info.sample_rate {
            let reason = format!("its sample rate changes from {} to {rate} Hz midway", self.info.sample_rate);
            return Err(AudioError::Undecodable(reason));
        }
        decoded.copy_to_vec_interleaved(&mut self.interleaved);
        self.info.n_channels = n_channels;
        let share = 1.0 / n_channels as f32;
        self.mono.clear();
        self.mono.extend(self.interleaved.chunks_exact(n_channels).map(|frame| frame.iter().sum::<f32>() * share));
        if let Some(index) = self.mono.iter().position(|sample| !sample.is_finite()) {
            let seconds = (self.info.n_samples + index as u64) as f64 / f64::from(rate);
            return Err(AudioError::NotFinite { sample: self.mono[index], seconds });
        }
        self.info.n_samples += self.mono.len() as u64;
        if self.info.n_samples > MOST_SECONDS * u64::from(rate) {
            return Err(AudioError::TooLong);
        }
        Ok(!self.mono.is_empty())
    }

    /// Fails where the file is shorter than it said, or its checksum is another.
    fn ended(&mut self) -> Result<(), AudioError> {
        let seconds = |n_samples: u64| n_samples as f64 / f64::from(self.info.sample_rate);
        match self.promised {
            Some(promised) if self.info.n_samples < promised => {
                return Err(AudioError::CutOff { found: self.info.duration(), promised: seconds(promised) });
            }
            _ => {}
        }
        match self.decoder.finalize().verify_ok {
            Some(false) => Err(AudioError::Undecodable("its checksum does not fit its samples".to_owned())),
            _ => Ok(()),
        }
    }

    fn damaged(&self, error: &Error) -> AudioError {
        AudioError::Undecodable(format!("{error}, {:.2} s from its start", self.info.duration()))
    }
}

fn undecodable(error: Error) -> AudioError {
    let reason = match error {
        Error::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "it ends within its header, or is no sound".to_owned()
        }
        error => error.to_string(),
    };
    AudioError::Undecodable(reason)
}

/// Whether the last page of an Ogg stream is not marked as the last, or not whole (RFC 3533, section 6).
fn is_ogg_cut_off(bytes: &[u8]) -> bool {
    const HEADER: usize = 27;
    if !bytes.starts_with(b"OggS") {
        return false;
    }
    let Some(start) = bytes.windows(4).rposition(|window| window == b"OggS") else { return true };
    let page = &bytes[start..];
    let n_segments = usize::from(page.get(26).copied().unwrap_or(0));
    let Some(segments) = page.get(HEADER..HEADER + n_segments) else { return true };
    let length: usize = HEADER + n_segments + segments.iter().map(|length| usize::from(*length)).sum::<usize>();
    let is_last = page[5] & 4 != 0;
    !is_last || page.len() < length
}
