"""The page's colours, type and shapes: warm paper and clay, from the system's own fonts."""

from __future__ import annotations

import gradio as gr

from studio.core import palette

CLAY = gr.themes.Color(name="clay", **palette.CLAY)
STONE = gr.themes.Color(name="stone", **palette.STONE)
# Nothing is fetched from a font service: the page works offline and tells nobody who looks at it.
FONT = ("system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "PingFang SC", "Microsoft YaHei",
        "Noto Sans CJK SC", "Noto Sans SC", "sans-serif")  # fmt: skip
MONOSPACE = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    """The theme of the page, light and dark."""
    return gr.themes.Base(
        primary_hue=CLAY,
        secondary_hue=CLAY,
        neutral_hue=STONE,
        radius_size=gr.themes.sizes.radius_lg,
        font=FONT,
        font_mono=MONOSPACE,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        background_fill_primary="white",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_100",
        background_fill_secondary_dark="*neutral_900",
        border_color_primary="*neutral_200",
        border_color_primary_dark="*neutral_800",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_padding="0",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_title_text_weight="550",
        block_title_text_size="14px",
        block_info_text_size="12.5px",
        block_info_text_color="*body_text_color_subdued",
        block_info_text_color_dark="*body_text_color_subdued",
        input_background_fill="white",
        input_background_fill_dark="*neutral_900",
        input_border_width="1px",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        input_border_color_focus="*primary_500",
        input_border_color_focus_dark="*primary_500",
        input_shadow="none",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="white",
        button_primary_border_color="transparent",
        button_secondary_background_fill="*neutral_200",
        button_secondary_background_fill_hover="*neutral_300",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        slider_color="*primary_500",
        slider_color_dark="*primary_500",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        color_accent_soft="*primary_50",
        color_accent_soft_dark="*neutral_800",
    )
