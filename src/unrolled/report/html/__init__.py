"""Pages of HTML that open anywhere: elements, charts as SVG, and the page around them. All texts are escaped."""
