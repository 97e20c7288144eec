"""Twins of the families whose denoiser is a transformer. See ``tests/twins.py``."""

from __future__ import annotations

from tests.tiny_parts import (
    NATIVE,
    autoencoder_kl,
    byte_tokenizer,
    clip_config,
    clip_tokenizer,
    gemma_tokenizer,
    qwen3_config,
    t5_encoder,
    t5_tokenizer,
)

LATENT = NATIVE // 8


def flow_scheduler(**options):
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**options)


def shifted_autoencoder(latent_channels: int = 16):
    """The autoencoder of SD 3 and Flux: shifted latents and no convolution around them."""
    return autoencoder_kl(
        latent_channels,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def sd3():
    from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
    from transformers import CLIPTextModelWithProjection

    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=LATENT,
            patch_size=2,
            in_channels=16,
            out_channels=16,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=32,
            joint_attention_dim=64,
            pooled_projection_dim=64,
            pos_embed_max_size=16,
        ),
        scheduler=flow_scheduler(shift=3.0),
        vae=shifted_autoencoder(),
        text_encoder=CLIPTextModelWithProjection(clip_config()),
        tokenizer=clip_tokenizer(),
        text_encoder_2=CLIPTextModelWithProjection(clip_config()),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5_encoder(64),
        tokenizer_3=t5_tokenizer(),
    )


def flux():
    from diffusers import FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextModel

    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=[4, 4, 8],
        ),
        scheduler=flow_scheduler(),
        vae=shifted_autoencoder(),
        text_encoder=CLIPTextModel(clip_config()),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5_encoder(32),
        tokenizer_2=t5_tokenizer(),
    )


def flux2():
    from diffusers import AutoencoderKLFlux2, Flux2KleinPipeline, Flux2Transformer2DModel
    from transformers import Qwen3ForCausalLM

    return Flux2KleinPipeline(
        transformer=Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=48,  # three layers of the text encoder side by side
            timestep_guidance_channels=32,
            axes_dims_rope=[4, 4, 4, 4],
            guidance_embeds=False,
        ),
        scheduler=flow_scheduler(),
        vae=AutoencoderKLFlux2(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=NATIVE,
        ),
        # The pipeline reads the layers 9, 18 and 27.
        text_encoder=Qwen3ForCausalLM(qwen3_config(layers=28)),
        tokenizer=byte_tokenizer(),
        is_distilled=True,
    )


def pixart():
    from diffusers import DPMSolverMultistepScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel

    return PixArtSigmaPipeline(
        transformer=PixArtTransformer2DModel(
            sample_size=LATENT,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=3,
            caption_channels=32,
            cross_attention_dim=24,
            in_channels=4,
            out_channels=8,
        ),
        scheduler=DPMSolverMultistepScheduler(),
        vae=autoencoder_kl(),
        text_encoder=t5_encoder(32),
        tokenizer=t5_tokenizer(),
    )


def sana():
    from diffusers import AutoencoderDC, SanaPipeline, SanaTransformer2DModel
    from transformers import Gemma2Model

    return SanaPipeline(
        transformer=SanaTransformer2DModel(
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_attention_heads=2,
            attention_head_dim=4,
            num_cross_attention_heads=2,
            cross_attention_head_dim=4,
            cross_attention_dim=8,
            caption_channels=16,
            sample_size=NATIVE // 2,
        ),
        scheduler=flow_scheduler(shift=3.0),
        vae=AutoencoderDC(
            latent_channels=4,
            attention_head_dim=2,
            encoder_block_types=("ResBlock", "EfficientViTBlock"),
            decoder_block_types=("ResBlock", "EfficientViTBlock"),
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            encoder_qkv_multiscales=((), (5,)),
            decoder_qkv_multiscales=((), (5,)),
            encoder_layers_per_block=(1, 1),
            decoder_layers_per_block=(1, 1),
            downsample_block_type="conv",
            upsample_block_type="interpolate",
            decoder_norm_types="rms_norm",
            decoder_act_fns="silu",
            scaling_factor=0.41407,
        ),
        text_encoder=Gemma2Model(gemma2_config()),
        tokenizer=gemma_tokenizer(),
    )


def gemma2_config():
    from transformers import Gemma2Config

    return Gemma2Config(
        vocab_size=400,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
    )


def lumina2():
    from diffusers import Lumina2Pipeline, Lumina2Transformer2DModel
    from transformers import Gemma2Model

    return Lumina2Pipeline(
        transformer=Lumina2Transformer2DModel(
            sample_size=LATENT,
            patch_size=2,
            in_channels=16,
            hidden_size=8,
            num_layers=1,
            num_refiner_layers=1,
            num_attention_heads=1,
            num_kv_heads=1,
            multiple_of=16,
            axes_dim_rope=(4, 2, 2),
            cap_feat_dim=16,
        ),
        scheduler=flow_scheduler(shift=6.0),
        vae=shifted_autoencoder(),
        text_encoder=Gemma2Model(gemma2_config()),
        tokenizer=gemma_tokenizer(),
    )


def hunyuan():
    from diffusers import DDPMScheduler, HunyuanDiT2DModel, HunyuanDiTPipeline
    from transformers import BertConfig, BertModel, BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    words += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    return HunyuanDiTPipeline(
        transformer=HunyuanDiT2DModel(
            sample_size=LATENT,
            num_layers=2,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=3,
            in_channels=4,
            hidden_size=24,
            cross_attention_dim=32,
            cross_attention_dim_t5=32,
            pooled_projection_dim=16,
            activation_fn="gelu-approximate",
        ),
        scheduler=DDPMScheduler(),
        vae=autoencoder_kl(),
        text_encoder=BertModel(
            BertConfig(
                vocab_size=len(words),
                hidden_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=32,
            )
        ),
        tokenizer=BertTokenizer(vocab={word: i for i, word in enumerate(words)}),
        text_encoder_2=t5_encoder(32),
        tokenizer_2=t5_tokenizer(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def auraflow():
    from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel
    from transformers import UMT5Config, UMT5EncoderModel

    return AuraFlowPipeline(
        transformer=AuraFlowTransformer2DModel(
            sample_size=LATENT,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_mmdit_layers=1,
            num_single_dit_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=32,
            joint_attention_dim=32,
            pos_embed_max_size=64,
        ),
        scheduler=flow_scheduler(shift=1.73),
        vae=autoencoder_kl(),
        text_encoder=UMT5EncoderModel(
            UMT5Config(vocab_size=200, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4)
        ),
        tokenizer=t5_tokenizer(),
    )


def chroma():
    from diffusers import ChromaPipeline, ChromaTransformer2DModel

    return ChromaPipeline(
        transformer=ChromaTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            axes_dims_rope=[4, 4, 8],
            approximator_hidden_dim=32,
            approximator_layers=1,
            approximator_num_channels=16,
        ),
        scheduler=flow_scheduler(),
        vae=shifted_autoencoder(),
        text_encoder=t5_encoder(32),
        tokenizer=t5_tokenizer(),
    )


def cogview4():
    from diffusers import CogView4Pipeline, CogView4Transformer2DModel
    from transformers import GlmConfig, GlmModel

    return CogView4Pipeline(
        transformer=CogView4Transformer2DModel(
            in_channels=16,
            out_channels=16,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            text_embed_dim=32,
            time_embed_dim=8,
            condition_dim=4,
            rope_axes_dim=(32, 32),
            sample_size=LATENT,
        ),
        scheduler=flow_scheduler(
            base_shift=0.25,
            max_shift=0.75,
            base_image_seq_len=256,
            use_dynamic_shifting=True,
            time_shift_type="linear",
        ),
        vae=autoencoder_kl(16, scaling_factor=1.0, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=GlmModel(
            GlmConfig(
                vocab_size=300,
                hidden_size=32,
                intermediate_size=16,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=8,
                pad_token_id=0,
            )
        ),
        tokenizer=byte_tokenizer(begin="<|im_start|>"),
    )


def qwen_parts() -> dict:
    from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    size = {"hidden_size": 16, "intermediate_size": 16}
    vision = {name: 256 + i for i, name in enumerate(QWEN_VISION, start=3)}
    return {
        "transformer": QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(8, 4, 4),
        ),
        "scheduler": flow_scheduler(),
        "vae": AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=4,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
        ),
        "text_encoder": Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(
                text_config={
                    **size,
                    "vocab_size": 300,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                    "num_key_value_heads": 2,
                    "rope_parameters": {
                        "rope_type": "default",
                        "rope_theta": 10_000.0,
                        "mrope_section": [1, 1, 2],
                    },
                },
                vision_config={**size, "depth": 1, "num_heads": 2, "out_hidden_size": 16},
                vision_start_token_id=vision["<|vision_start|>"],
                image_token_id=vision["<|image_pad|>"],
                video_token_id=vision["<|video_pad|>"],
            )
        ),
    }


QWEN_VISION = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")


def qwenimage():
    from diffusers import QwenImagePipeline

    return QwenImagePipeline(**qwen_parts(), tokenizer=byte_tokenizer())


def qwenedit(pipeline: str = "QwenImageEditPipeline"):
    import diffusers
    from transformers import Qwen2VLImageProcessor, Qwen2VLProcessor, Qwen2VLVideoProcessor

    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(QWEN_VISION)})
    sizes = {"min_pixels": 28 * 28, "max_pixels": 56 * 56}
    processor = Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(**sizes),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
    )
    make = getattr(diffusers, pipeline)
    return make(**qwen_parts(), tokenizer=tokenizer, processor=processor)


def qwenedit_plus():
    return qwenedit("QwenImageEditPlusPipeline")


def zimage():
    import torch
    from diffusers import ZImagePipeline, ZImageTransformer2DModel
    from transformers import Qwen3Model

    transformer = ZImageTransformer2DModel(
        in_channels=16,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[8, 4, 4],
        axes_lens=[1024, 32, 32],
    )
    torch.nn.init.ones_(transformer.x_pad_token)  # its constructor leaves them uninitialised
    torch.nn.init.ones_(transformer.cap_pad_token)
    return ZImagePipeline(
        transformer=transformer,
        scheduler=flow_scheduler(shift=3.0),
        vae=shifted_autoencoder(),
        text_encoder=Qwen3Model(qwen3_config()),
        tokenizer=byte_tokenizer(),
    )


def ovis():
    from diffusers import OvisImagePipeline, OvisImageTransformer2DModel
    from transformers import Qwen3Model

    return OvisImagePipeline(
        transformer=OvisImageTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(4, 4, 8),
        ),
        scheduler=flow_scheduler(),
        vae=shifted_autoencoder(),
        text_encoder=Qwen3Model(qwen3_config()),
        tokenizer=byte_tokenizer(),
    )
