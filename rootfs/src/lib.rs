//! OCI images: read and verify, unpack into overlay layer directories, and write layouts. Enclave images: initramfs and
//! EIF (feature `image-builder`, for build tools).
//!
//! Nothing that comes with an image is trusted before its digest has been checked, and no name of a layer is ever
//! resolved outside the directory that the layer is unpacked into.
#![forbid(unsafe_code)]

mod beneath;
#[cfg(feature = "image-builder")]
pub mod eif;
#[cfg(feature = "image-builder")]
pub mod enclave_image;
pub mod error;
pub mod image;
#[cfg(feature = "image-builder")]
pub mod initramfs;
pub mod layer;
pub mod store;
mod stream;
pub mod unpack;
pub mod write;

pub use error::Error;
pub use store::{BlobSource, UnpackedImage, remove_layers, unpack_image};
pub use unpack::{Limits, Owners};
