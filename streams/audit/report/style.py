"""How the report looks: dark on white, on a screen of any width and on A4."""

from typing import Final

STYLE: Final = """
*{box-sizing:border-box}
html{background:#fff;color:#1a1a1a;
font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;
-webkit-text-size-adjust:100%}
body{margin:0 auto;padding:20px;max-width:980px}
h1{font-size:26px;line-height:1.2;margin:0 0 4px}
h2{font-size:19px;margin:34px 0 8px;padding-top:10px;border-top:2px solid #1a1a1a}
p{margin:6px 0}
.quiet{color:#555}
.remark{border-left:4px solid #8a6d00;padding:2px 10px;background:#fdf8e6}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(112px,1fr));gap:10px;margin:16px 0}
.card{border:1px solid #c9c9c9;border-radius:4px;padding:8px 10px}
.card b{display:block;font-size:22px;line-height:1.2}
.card span{color:#555;font-size:13px}
table{border-collapse:collapse;width:100%;margin:8px 0;font-size:14px}
th,td{text-align:left;vertical-align:top;padding:5px 8px 5px 0}
td{border-bottom:1px solid #d9d9d9;overflow-wrap:anywhere}
table.rows td:first-child{min-width:9.5em}
th{border-bottom:2px solid #999;font-size:13px;white-space:nowrap}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
code{font:13px/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
.proposal{border:1px solid #c9c9c9;border-left-width:6px;border-radius:4px;padding:8px 12px;margin:10px 0}
.exempt{border-left-color:#2f7d4f}.block{border-left-color:#c8501e}
.remove{border-left-color:#7a4fa3}.look{border-left-color:#8a6d00}
.proposal b{font-size:16px;overflow-wrap:anywhere}
.proposal .tag{display:inline-block;font-size:12px;border:1px solid #777;border-radius:3px;padding:0 6px;
margin-right:8px;text-transform:uppercase}
.proposal .why{margin:3px 0}
.proposal .evidence{font-size:13px;color:#444;margin:3px 0;overflow-wrap:anywhere}
.flag{white-space:nowrap}
.proposal code{display:block;background:#f4f4f4;padding:4px 8px;margin-top:5px}
figure{margin:10px 0}
figcaption{font-size:13px;color:#555;margin-bottom:6px}
svg{display:block;width:100%;height:auto}
.narrow{display:none}
.narrow svg{max-width:480px}
@media screen and (max-width:760px){
body{padding:14px}.wide{display:none}.narrow{display:block}
table.rows,table.rows tbody,table.rows tr,table.rows td{display:block}
table.rows thead{display:none}
table.rows tr{border-bottom:1px solid #999;padding:6px 0}
table.rows td{border:0;padding:1px 0;text-align:left;white-space:normal}
table.rows td[data-label]::before{content:attr(data-label) ": ";color:#555}
table.rows td:first-child{font-weight:600;min-width:0}
table.rows td:first-child::before{content:""}
}
@media print{
@page{size:A4;margin:14mm}
html{font-size:11pt}body{padding:0;max-width:none}
h2,h2+p,figcaption,thead{break-after:avoid}.proposal,figure,tr,.card{break-inside:avoid}
.wide{display:block}.narrow{display:none}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
}
"""
